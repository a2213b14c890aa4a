"""``doctor``: checks before a long run, and what to do about them."""

import os

from pipeline.base.project import Project
from pipeline.commands.arguments import add_dataset_argument, selected_datasets

HELP = "check ffmpeg, yt-dlp and its JavaScript runtime, disk, GPU, cluster and one canary a dataset; say what to do"


def add_arguments(parser) -> None:
    add_dataset_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="only what needs attention")


def run(arguments, project: Project) -> int:
    """One line a check; 1 when something must be mended first."""
    from pipeline.commands.doctor_checks import diagnose

    cluster = project.params.get("cluster") or {}
    address = cluster.get("scheduler_address") or os.environ.get("DASK_SCHEDULER_ADDRESS")
    names = selected_datasets(arguments, project) if arguments.dataset else project.datasets
    checks = diagnose(project, names, scheduler_address=address)
    for check in checks:
        if check.level == "ok" and arguments.quiet:
            continue
        advice = f"; {check.advice}" if check.advice else ""
        print(f"{check.level:4}  {check.name}: {check.text}{advice}")
    return 1 if any(check.level == "FAIL" for check in checks) else 0
