"""``doctor``: check the environment before a long run, and say what to do."""

import argparse
import datetime
import os
from collections.abc import Sequence

from pipeline.base.project import Project
from pipeline.commands.arguments import add_dataset_argument, selected_datasets
from pipeline.commands.doctor_checks import (
    Check,
    check_compiled,
    check_disk,
    check_ffmpeg,
    check_gpu,
    check_js_runtime,
    check_scheduler,
    check_yt_dlp,
)
from pipeline.commands.doctor_sources import check_sources
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.tool_versions import find_js_runtimes, read_package_version

HELP = (
    "check ffmpeg, yt-dlp and its JavaScript runtime, disk, GPU, cluster and one canary a dataset; "
    "say what to do"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `doctor`."""
    add_dataset_argument(parser)
    parser.add_argument("--quiet", action="store_true", help="only what needs attention")


def run(arguments: argparse.Namespace, project: Project) -> int:
    """Print one line a check; return 1 when something must be fixed first."""
    names = selected_datasets(arguments, project) if arguments.dataset else project.datasets
    checks = diagnose(project, names)
    for check in checks:
        if check.level == "ok" and arguments.quiet:
            continue
        advice = f"; {check.advice}" if check.advice else ""
        print(f"{check.level:4}  {check.name}: {check.text}{advice}")
    return 1 if any(check.level == "FAIL" for check in checks) else 0


def diagnose(project: Project, names: Sequence[str]) -> list[Check]:
    """Return all checks: the machine first, then the sources of the datasets ``names``."""
    parameters = project.parameters(DownloadParameters, "download")

    # The same order of precedence as in the stages that compute features.
    cluster = project.params.get("cluster") or {}
    checks = [
        check_ffmpeg(parameters.ffmpeg),
        check_yt_dlp(read_package_version("yt-dlp"), today=datetime.date.today()),
        check_js_runtime(find_js_runtimes()),
        check_disk(project.root / "cache", min_free_gigabytes=parameters.min_free_gigabytes),
        check_gpu(),
        check_compiled(),
        check_scheduler(
            cluster.get("scheduler_address") or os.environ.get("DASK_SCHEDULER_ADDRESS")
        ),
    ]

    # Reading params.yaml has checked that the file is there, but not that it can be read.
    cookies_path = parameters.cookies_path
    if cookies_path and not os.access(os.path.expanduser(cookies_path), os.R_OK):
        checks.append(
            Check("cookies", "FAIL", "download.cookies_path cannot be read", "export them anew")
        )
    return checks + check_sources(project, names, parameters)
