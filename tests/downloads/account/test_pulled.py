"""A checkout that pulled the results has neither clips nor ledger: nothing is attempted there."""

import pyarrow as pa

from earshot.tables import CLIPS, DOWNLOADS, read_table, write_table
from pipeline.downloads.account.ledger import read_entries
from stages import download
from tests.helpers.command_helpers import fill, make_project, run
from tests.helpers.downloads.download_helpers import QUICK, clips_table, make_clip
from tests.helpers.downloads.misbehaving_server import Answer


def test_pulled_rows_stay_until_somebody_wants_the_clips(tmp_path, capsys, server):
    good = Answer(body=make_clip(tmp_path / "good.mp4").read_bytes())
    other = Answer(body=make_clip(tmp_path / "other.mp4", tone=300).read_bytes())
    gone = Answer(status=404)
    clips = clips_table(
        *(
            (name, server.add(f"/{name}.mp4", answer))
            for name, answer in {"a": good, "b": other, "c": gone}.items()
        )
    )
    params = {"download": QUICK | {"num_quick_attempts": 1, "quick_delay_seconds": 0.0}}
    first = make_project(tmp_path / "first", **params)
    fill(first, clips)
    table = read_table(first.downloads_table_path("vggsound"), DOWNLOADS)
    assert table["status"].to_pylist() == ["ok", "ok", "missing"]

    # A colleague has the two tables, and one clip more in the list.
    colleague = make_project(tmp_path / "colleague", **params)
    more = clips_table(("d", server.add("/d.mp4", Answer(status=404))))
    write_table(colleague.clips_table_path("vggsound"), pa.concat_tables([clips, more]), CLIPS)
    write_table(colleague.downloads_table_path("vggsound"), table, DOWNLOADS)
    num_before = dict(server.num_requests)
    download.main(colleague, "vggsound")
    pulled = read_table(colleague.downloads_table_path("vggsound"), DOWNLOADS)
    assert pulled.slice(0, 3).to_pylist() == table.to_pylist()
    assert {**server.num_requests, "/d.mp4": 0} == {**num_before, "/d.mp4": 0}
    assert {entry["clip_id"] for entry in read_entries(colleague.ledger_path("vggsound"))} == {"d"}

    # `retry` of one clip leaves the rows of the others.
    assert run(capsys, colleague, "retry", "--id", "a", "--quiet")[0] == 0
    rows = read_table(colleague.downloads_table_path("vggsound"), DOWNLOADS).to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok", "missing", "missing"]
    assert rows[1:3] == table.slice(1).to_pylist()
    assert sorted(path.name for path in colleague.clips_dir("vggsound").glob("*.mp4")) == ["a.mp4"]

    # All clips that are `ok` and have no file here.
    code, printed, _ = run(capsys, colleague, "retry", "--absent", "--quiet")
    assert code == 0 and "1 clips attempted again: 1 ok" in printed
    assert (colleague.clips_dir("vggsound") / "b.mp4").exists()
    assert run(capsys, colleague, "retry", "--absent", "--reason", "network")[0] == 2


def test_where_the_ledger_knows_all_clips_a_longer_list_fetches_what_is_new(tmp_path, server):
    good = Answer(body=make_clip(tmp_path / "good.mp4").read_bytes())
    other = Answer(body=make_clip(tmp_path / "other.mp4", tone=300).read_bytes())
    clips = clips_table(("a", server.add("/a.mp4", good)), ("b", server.add("/b.mp4", other)))
    project = make_project(tmp_path / "project", download=QUICK)
    fill(project, clips.slice(0, 1))
    write_table(project.clips_table_path("vggsound"), clips, CLIPS)
    download.main(project, "vggsound")
    table = read_table(project.downloads_table_path("vggsound"), DOWNLOADS)
    assert table["status"].to_pylist() == ["ok", "ok"]
    assert server.num_requests["/a.mp4"] == 1
