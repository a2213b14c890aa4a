"""Two runs that make the list of one dataset at the same time."""

import threading

from pipeline.base.locks import hold_lock
from pipeline.base.project import Project
from pipeline.datasets.listing import list_dataset


def test_the_second_one_waits_and_says_so(tmp_path, capfd):
    """Both would render or unpack into one folder, and remove each other's temporary files."""
    (tmp_path / "birds.csv").write_text("id,url\na,https://x.org/a.mp4\n")
    params = {"sources": {"birds": {"kind": "table", "path": str(tmp_path / "birds.csv")}}}
    project = Project(tmp_path, params)
    printed: list[str] = []
    second = threading.Thread(target=lambda: printed.append(list_dataset(project, "birds")))

    with hold_lock(project.sources_dir("birds") / ".sources-lock"):
        second.start()
        words = ""
        while "another run is making its list; this one waits" not in words:
            words += capfd.readouterr().err
        assert not project.clips_table_path("birds").exists()
    second.join()
    assert printed == ["birds: 1 clips, 1 samples"]
    assert project.clips_table_path("birds").exists()
