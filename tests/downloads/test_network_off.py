"""``download.network: false``: no site is asked; what is imported is used, the rest is pending."""

import stages.download
from earshot.tables import CLIPS, DOWNLOADS, read_table, write_table
from pipeline.commands.doctor_sources import check_source
from pipeline.downloads.parameters import DownloadParameters
from tests.helpers.command_helpers import make_project, run
from tests.helpers.downloads.download_helpers import QUICK, clips_table, make_clip
from tests.helpers.downloads.misbehaving_server import Answer


def test_nothing_is_asked_and_the_run_ends_well(tmp_path, capsys, server):
    clip = make_clip(tmp_path / "in" / "a.mp4")
    answer = Answer(body=clip.read_bytes())
    clips = clips_table(*((name, server.add(f"/{name}.mp4", answer)) for name in "abc"))
    params = QUICK | {"network": False, "max_failed_fraction": 0.1}
    project = make_project(tmp_path / "project", download=params)
    write_table(project.clips_table_path("vggsound"), clips, CLIPS)

    code, printed, _ = run(capsys, project, "import", str(tmp_path / "in"), "--quiet")
    assert code == 0 and "1 clips imported" in printed
    imported = read_table(project.downloads_table_path("vggsound"), DOWNLOADS)
    stages.download.main(project, "vggsound")
    table = read_table(project.downloads_table_path("vggsound"), DOWNLOADS)
    assert [(row["status"], row["detail"]) for row in table.to_pylist()] == [
        ("ok", None),
        ("pending", "network is off"),
        ("pending", "network is off"),
    ]
    # The table that `import` wrote is the same: DVC has nothing to run again.
    assert imported.equals(table)
    assert "2 clips stay pending; `import` takes those that you have" in capsys.readouterr().err

    # A lost file is not fetched again either, and `retry` marks nothing.
    (project.clips_dir("vggsound") / "a.mp4").unlink()
    stages.download.main(project, "vggsound")
    code, _, message = run(capsys, project, "retry", "--id", "a", "--quiet")
    assert code == 2 and "download.network is false" in message
    assert not server.num_requests


def test_doctor_asks_no_site(tmp_path, monkeypatch):
    project = make_project(tmp_path, download=QUICK | {"network": False})
    monkeypatch.setattr("pipeline.commands.doctor_sources.find_unreachable", lambda *_, **__: 1 / 0)
    parameters = project.parameters(DownloadParameters, "download")
    check = check_source(project, "vggsound", parameters, deadline=0.0)
    assert (check.level, "no site is asked" in check.text) == ("ok", True)
