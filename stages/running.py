"""Run a stage's ``main``: parameters in, one-line errors and exit codes out."""

import sys
from collections.abc import Callable

from pipeline.errors import EarshotError, RunError
from pipeline.project import Project
from pipeline.refusals import describe_refusal


def run_stage(main: Callable, *arguments: str) -> None:
    """Call ``main(project, ...)`` with the command line's words named ``arguments``; exit as DVC and shells expect."""
    words = sys.argv[1:]
    if len(words) != len(arguments):
        print(f"usage: {' '.join([sys.argv[0], *(name.upper() for name in arguments)])}", file=sys.stderr)
        sys.exit(2)
    try:
        main(Project.load(), *words)
    except EarshotError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        words = describe_refusal(error)
        if words is None:
            raise
        print(f"error: {words}", file=sys.stderr)
        sys.exit(RunError.exit_code)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
