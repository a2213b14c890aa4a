"""What is not the clips' own failure: refusals in unlisted words, and errors of this machine."""

import resource
import time
from collections import Counter

import pytest

from earshot.errors import RunError
from earshot.tables import DOWNLOADS, read_table
from pipeline.downloads.account.ledger import read_entries
from tests.helpers.downloads.download_helpers import answer, clips_table, download, quick
from tests.helpers.downloads.misbehaving_server import Answer, page

DAY = 86400.0


@pytest.mark.parametrize("words", ["Our robots are tired today", "Video unavailable"])
def test_a_site_that_refuses_everything_in_any_words_leaves_nobody_dead(tmp_path, server, words):
    """Thirty of thirty fail alike: pause, then stop, on one day and on the next one."""
    urls = [server.add(f"/{n}.mp4", page(words)) for n in range(30)]
    clips = clips_table(*((str(n), url) for n, url in enumerate(urls)))
    table_path = tmp_path / "downloads.parquet"
    for day in range(2):
        before = sum(server.num_requests.values())
        with pytest.raises(
            RunError, match=r"30 pending\): .* failed for reasons that are not their own: the site"
        ):
            download(
                tmp_path,
                clips,
                parameters=quick(max_pauses=2, pause_seconds=0.05, num_quick_attempts=1),
                table_path=table_path,
                sites_dir=tmp_path / "sites",
                clock=lambda day=day: time.time() + day * DAY,
            )
        assert sum(server.num_requests.values()) - before <= 8

    rows = read_table(table_path, DOWNLOADS).to_pylist()
    assert {row["status"] for row in rows} == {"pending"}
    assert not any(row["is_confirmed"] for row in rows)
    assert any("the site refused most videos" in (row["detail"] or "") for row in rows)


def test_after_a_refusal_every_video_arrives(tmp_path, media, server):
    """The site refuses five videos, then answers: the five are attempted again."""
    refusal = page("Come back later, human")
    rows = [
        (str(n), server.add(f"/{n}.mp4", *[refusal][: n < 5], answer(media / f"clip{n}.mp4")))
        for n in range(6)
    ]
    found = download(tmp_path, clips_table(*rows), parameters=quick(num_quick_attempts=1))
    assert {row["status"] for row in found.values()} == {"ok"}
    assert [found[str(n)]["attempts"] for n in range(6)] == [2, 2, 2, 2, 2, 1]
    types = [entry["type"] for entry in read_entries(tmp_path / "attempts.jsonl")]
    assert types.count("refused") == 5


def test_dead_pages_at_the_end_of_a_list_stop_nobody(tmp_path, media, server):
    """Five pages are no videos for ever; one clip never blocks the others, in no run."""
    rows = [(str(n), server.add(f"/{n}.mp4", page("A nice page"))) for n in range(6)]
    rows += [("good", server.add("/good.mp4", answer(media / "clip0.mp4")))]
    for day in (0, 2):
        found = download(
            tmp_path,
            clips_table(*rows),
            parameters=quick(num_quick_attempts=1, max_pauses=2, pause_seconds=0.05),
            clock=lambda day=day: time.time() + day * DAY,
        )
    assert {row["reason"] for name, row in found.items() if name != "good"} == {"unknown"}
    assert found["good"]["status"] == "ok"


def test_videos_that_are_gone_or_private_say_nothing_about_the_site(tmp_path, server):
    answers = [Answer(status=404), page("Private video"), page("removed by the uploader")]
    rows = [(str(n), server.add(f"/{n}.mp4", answers[n % 3])) for n in range(24)]
    found = download(tmp_path, clips_table(*rows))
    assert {row["status"] for row in found.values()} == {"missing"}
    assert sum(server.num_requests.values()) == 24


@pytest.fixture
def small_files():
    """Let nobody write a file of more than 400 kB: an error of this machine."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_errors_of_this_machine_that_last_stop_the_run(tmp_path, media, server, small_files):
    bodies = [(media / "clip0.mp4").read_bytes() + bytes(900_000)] * 5
    rows = [(str(n), server.add(f"/{n}.mp4", Answer(body=body))) for n, body in enumerate(bodies)]
    with pytest.raises(RunError, match=r"5 pending\): this machine's own trouble: .*File too larg"):
        download(tmp_path, clips_table(*rows), table_path=tmp_path / "downloads.parquet")
    assert sum(server.num_requests.values()) == 3

    # One clip alone is tried again before the run ends.
    with pytest.raises(RunError, match="this machine's own trouble"):
        download(tmp_path / "one", clips_table(rows[0]), parameters=quick(num_quick_attempts=2))
    assert server.num_requests["/0.mp4"] == 3


def test_an_error_of_this_machine_at_one_clip_does_not_block_the_others(
    tmp_path, media, server, small_files
):
    large = (media / "clip5.mp4").read_bytes() + bytes(900_000)
    rows = [("large", server.add("/large.mp4", Answer(body=large)))]
    rows += [(str(n), server.add(f"/{n}.mp4", answer(media / f"clip{n}.mp4"))) for n in range(3)]
    for _ in range(2):
        found = download(tmp_path, clips_table(*rows), parameters=quick(num_quick_attempts=2))
        assert [found[str(n)]["status"] for n in range(3)] == ["ok"] * 3
        assert (found["large"]["status"], found["large"]["reason"]) == ("pending", "local")


def test_retries_of_a_few_failures_say_nothing_about_the_environment(tmp_path, media, server):
    """A fifth is forbidden; all further attempts come last, together."""
    rows = [
        (
            str(n),
            server.add(
                f"/{n}.mp4",
                Answer(status=403) if n % 5 == 0 else answer(media / f"clip{n % 6}.mp4"),
            ),
        )
        for n in range(60)
    ]
    found = download(
        tmp_path,
        clips_table(*rows),
        parameters=quick(num_quick_attempts=4, allow_duplicates=True),
    )
    counts = Counter(row["reason"] or row["status"] for row in found.values())
    assert counts == {"ok": 48, "forbidden": 12}
