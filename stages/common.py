"""Run the ``main`` of a stage: parameters in, one-line errors and exit codes out."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from earshot.errors import EarshotError
from earshot.files import publish_text, sha256_of
from pipeline.base.os_errors import report_error
from pipeline.base.project import Project
from pipeline.base.proxy import use_proxy

_CODE_ROOT = str(Path(__file__).resolve().parents[1])


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
        _check_params_once(project)
        with use_proxy(project.proxy):
            main(project, *words)
    except (EarshotError, OSError) as error:
        sys.exit(report_error(error))
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        # 128 + SIGINT, as a shell reports a command that Ctrl-C ended.
        sys.exit(130)


def _check_params_once(project: Project) -> None:
    """Check all of params.yaml if it has changed since the last check; exit if it is wrong.

    The check imports training and evaluation, on which most stages do not depend. So it runs as a
    program of its own, which takes seconds.
    """
    digest = sha256_of(project.root / "params.yaml")
    path = project.root / "cache" / ".checked-params"
    if path.exists() and path.read_text() == digest:
        return

    # The code need not lie where the project does.
    search_path = os.pathsep.join([_CODE_ROOT, os.environ.get("PYTHONPATH", "")])
    status = subprocess.run(
        [sys.executable, "-m", "stages.check"],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": search_path.rstrip(os.pathsep)},
    ).returncode
    if status != 0:
        sys.exit(status)
    publish_text(path, digest)
