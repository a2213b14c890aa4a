"""``doctor``: check the environment before a long run, and say what to do."""

import datetime
import os
from collections.abc import Sequence

import click

from earshot.errors import ParameterError, RunError
from pipeline.base.project import Project
from pipeline.commands.doctor_checks import (
    Check,
    check_compiled,
    check_disk,
    check_dvc,
    check_ffmpeg,
    check_gpu,
    check_js_runtime,
    check_scheduler,
    check_yt_dlp,
)
from pipeline.commands.doctor_sources import check_sources
from pipeline.commands.options import (
    chosen_dataset_option,
    pass_project,
    quiet_option,
    selected_datasets,
)
from pipeline.datasets.dataset import describe_hand_work
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.tool_versions import find_js_runtimes, read_package_version
from pipeline.downloads.ytdlp_options import require_known
from pipeline.shards.workers.cluster import ClusterParameters

_COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red"}  # on a terminal


@click.command()
@chosen_dataset_option
@quiet_option(help="only what needs attention")
@pass_project
def run(project: Project, datasets: tuple[str, ...], is_quiet: bool) -> int:
    """Print one line a check; return 1 when something must be fixed first."""
    names = selected_datasets(project, datasets) if datasets else project.datasets
    checks = diagnose(project, names)

    for check in checks:
        if check.level == "ok" and is_quiet:
            continue
        advice = f"; {check.advice}" if check.advice else ""
        level = click.style(f"{check.level:4}", fg=_COLOURS.get(check.level))
        click.echo(f"{level}  {check.name}: {check.text}{advice}")
    return 1 if any(check.level == "FAIL" for check in checks) else 0


def diagnose(project: Project, names: Sequence[str]) -> list[Check]:
    """Return all checks: the machine first, then the sources of the datasets ``names``."""
    parameters = project.parameters(DownloadParameters, "download")

    checks = [
        check_ffmpeg(parameters.ffmpeg),
        check_yt_dlp(read_package_version("yt-dlp"), today=datetime.date.today()),
        check_js_runtime(find_js_runtimes()),
        check_disk(project.root / "cache", min_free_gigabytes=parameters.min_free_gigabytes),
        check_dvc(project.root),
        check_gpu(),
        check_compiled(),
        _check_cluster(project),
    ]

    # Reading params.yaml has checked that the file is there, but not that it can be read.
    cookies_path = parameters.cookies_path
    if cookies_path and not os.access(os.path.expanduser(cookies_path), os.R_OK):
        checks.append(
            Check("cookies", "FAIL", "download.cookies_path cannot be read", "export them anew")
        )
    try:
        require_known(parameters.yt_dlp_options, impersonate=parameters.impersonate)
    except ParameterError as error:
        checks.append(Check("options", "FAIL", str(error), "mend section download"))
    checks += [Check("boxes", "warn", text) for text in describe_hand_work(project, names)]
    return checks + check_sources(project, names, parameters)


def _check_cluster(project: Project) -> Check:
    """Check the scheduler that the stages would use."""
    cluster = ClusterParameters()
    if "cluster" in project.params:
        cluster = project.parameters(ClusterParameters, "cluster")
    try:
        return check_scheduler(cluster.fill_from(os.environ).scheduler_address)
    except RunError as error:
        return Check("Dask", "FAIL", str(error))
