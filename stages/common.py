"""Run the ``main`` of a stage: parameters in, one-line errors and exit codes out."""

import sys
from collections.abc import Callable

from earshot.errors import EarshotError
from pipeline.base.os_errors import report_error
from pipeline.base.project import Project
from pipeline.base.proxy import use_proxy


def run_stage(main: Callable[..., None], *arguments: str) -> None:
    """Call ``main(project, ...)`` with the words of the command line, and exit if it fails.

    Args:
        main: The stage.
        arguments: What the words are, for the usage message, for example ``dataset``.
    """
    words = sys.argv[1:]
    if len(words) != len(arguments):
        usage = " ".join([sys.argv[0], *(name.upper() for name in arguments)])
        print(f"usage: {usage}", file=sys.stderr)
        sys.exit(2)

    try:
        # Loading params.yaml can fail, too: that is also one line and an exit code.
        project = Project.load()
        with use_proxy(project.proxy):
            main(project, *words)
    except (EarshotError, OSError) as error:
        sys.exit(report_error(error))
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        # 128 + SIGINT, as a shell reports a command that Ctrl-C ended.
        sys.exit(130)
