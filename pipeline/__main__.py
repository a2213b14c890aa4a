"""``python -m pipeline COMMAND``: see which clips and features are there, and repair them."""

import argparse
import importlib
import sys

if not __package__:  # `python pipeline` instead of `python -m pipeline`
    sys.exit("error: run `python -m pipeline` in the root of a checkout of Earshot")

from earshot.errors import EarshotError
from pipeline import commands
from pipeline.base.environment import require_environment

require_environment()  # before the imports that need packages

from pipeline.base.os_errors import report_error  # noqa: E402
from pipeline.base.project import Project  # noqa: E402
from pipeline.base.proxy import use_proxy  # noqa: E402
from pipeline.commands.arguments import protect_ids  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; an error becomes one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline",
        description="See which clips and features are there, and repair them.",
    )
    parser.add_argument("--root", default=".", help="the checkout to work in (default: here)")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    words = protect_ids(sys.argv[1:] if argv is None else argv)
    modules = {}
    for name in _names_to_load(words):
        module = importlib.import_module(f"pipeline.commands.{commands.MODULES[name]}")
        modules[name] = module
        subparser = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(subparser)
    arguments = parser.parse_args(words)

    try:
        project = Project.load(arguments.root)
        with use_proxy(project.proxy):
            return modules[arguments.command].run(arguments, project)
    except BrokenPipeError:
        return 0
    except (EarshotError, OSError) as error:
        return report_error(error)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130


def _names_to_load(words: list[str]) -> tuple[str, ...]:
    """Return the requested command alone; loading all would take longer than `status` runs."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--root")
    first.add_argument("command", nargs="?")
    name = first.parse_known_args(words)[0].command
    return (name,) if name in commands.MODULES else tuple(commands.MODULES)


if __name__ == "__main__":
    sys.exit(main())
