"""A small project for the commands over accounts, and running one of them."""

from pathlib import Path

import pyarrow as pa
import yaml

from earshot.tables import CLIPS, write_table
from pipeline.__main__ import main
from pipeline.base.project import Project
from pipeline.commands.command_line import earshot
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.engine import download_clips
from pipeline.downloads.parameters import DownloadParameters
from tests.helpers.downloads.download_helpers import QUICK


def make_project(root: Path, **sections) -> Project:
    """A folder with a params.yaml that the commands accept."""
    root.mkdir(parents=True, exist_ok=True)
    params = {"datasets": ["vggsound"], "download": QUICK, "sources": {"vggsound": {}}} | sections
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return Project.load(root)


def fill(project: Project, clips: pa.Table, dataset: str = "vggsound") -> None:
    """List clips and download them."""
    write_table(project.clips_table_path(dataset), clips, CLIPS)
    download_clips(
        clips,
        AccountPaths.find(project, dataset),
        parameters=project.parameters(DownloadParameters, "download"),
        dataset=dataset,
        is_quiet=True,
    )


def run(capsys, project: Project, *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    capsys.readouterr()
    code = main(["--root", str(project.root), *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def call(project: Project, *words: str) -> int:
    """Run a command on a project that need not have a params.yaml; its errors are raised."""
    with earshot.make_context("earshot", list(words), obj=project) as context:
        return earshot.invoke(context)
