"""``exclude_flags``: clips that are here are left out, and come back without a request."""

import pytest

import stages.download
from earshot.errors import RunError
from earshot.tables import CLIPS, DOWNLOADS, read_table, write_table
from pipeline.base.project import Project
from tests.helpers.command_helpers import make_project, run
from tests.helpers.downloads.download_helpers import QUICK, clips_table, encode, make_clip


@pytest.fixture
def project(tmp_path) -> Project:
    """Make a project with a clip that is silent and still, and one that is neither."""
    still = tmp_path / "still.mp4"
    picture = ("-f", "lavfi", "-i", "color=red:s=64x48:r=10:d=2")
    encode(still, *picture, "-f", "lavfi", "-i", "anullsrc=r=16000:d=2", "-shortest")
    urls = (("good", make_clip(tmp_path / "good.mp4").as_uri()), ("still", still.as_uri()))
    project = make_project(tmp_path / "project", download=QUICK | {"max_failed_fraction": 0.1})
    write_table(project.clips_table_path("vggsound"), clips_table(*urls), CLIPS)
    return project


def download(project: Project, *flags: str) -> dict[str, tuple]:
    project.params["sources"] = {"vggsound": {"exclude_flags": list(flags)}}
    stages.download.main(project, "vggsound")
    rows = read_table(project.downloads_table_path("vggsound"), DOWNLOADS).to_pylist()
    return {row["clip_id"]: (row["status"], row["reason"], row["detail"]) for row in rows}


GOOD = STILL = ("ok", None, None)
EXCLUDED = ("missing", "excluded", "silent and still (exclude_flags)")


def test_flagged_clips_are_left_out_and_come_back(project, capsys):
    assert download(project) == {"good": GOOD, "still": STILL}
    num_entries = len(project.ledger_path("vggsound").read_text().splitlines())

    # A choice is no failure: the stage ends well although half of the clips is left out.
    assert download(project, "silent", "still") == {"good": GOOD, "still": EXCLUDED}
    assert download(project, "no_audio") == {"good": GOOD, "still": STILL}
    assert len(project.ledger_path("vggsound").read_text().splitlines()) == num_entries

    download(project, "still")
    code, printed, _ = run(capsys, project, "missing")
    assert code == 0 and "excluded" in printed and "still (exclude_flags)" in printed
    assert (project.clips_dir("vggsound") / "still.mp4").exists()


@pytest.mark.parametrize("has_ledger_copy", [True, False])
def test_a_machine_that_pulled_keeps_the_choice(project, has_ledger_copy):
    download(project, "still")
    for path in project.clips_dir("vggsound").glob("*.mp4"):
        path.unlink()
    project.ledger_path("vggsound").unlink()
    if not has_ledger_copy:
        project.ledger_copy_path("vggsound").unlink()

    assert download(project, "still")["still"][:2] == ("missing", "excluded")
    # Without the choice the clip is ok again, and is not fetched.
    assert download(project) == {"good": GOOD, "still": STILL}
    assert not list(project.clips_dir("vggsound").glob("*.mp4"))


def test_other_missing_clips_are_failures(project, tmp_path):
    urls = (("good", (tmp_path / "good.mp4").as_uri()), ("gone", (tmp_path / "no.mp4").as_uri()))
    write_table(project.clips_table_path("vggsound"), clips_table(*urls), CLIPS)
    with pytest.raises(RunError, match=r"1 of 2 clips are missing \(1 gone\)"):
        download(project, "still")
