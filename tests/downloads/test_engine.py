"""The download engine against a server that misbehaves and files that are broken."""

import gzip
import os
import random

import pytest

from earshot.files import sha256_of
from tests.helpers.downloads.download_helpers import (
    answer,
    clips_table,
    download,
    published,
    quick,
)
from tests.helpers.downloads.misbehaving_server import Answer, page


def make_cases(media) -> dict[str, tuple[list[Answer], str | None]]:
    """Return what a server answers, one request after another, and the clip's reason."""
    good, data = answer(media / "clip0.mp4"), (media / "clip0.mp4").read_bytes()
    front, packed = (
        (media / "front.mp4").read_bytes(),
        gzip.compress((media / "clip4.mp4").read_bytes()),
    )
    gzipped = {"Content-Encoding": "gzip"}
    return {
        "fine": ([good], None),
        "-begins-with-minus": ([answer(media / "clip1.mp4")], None),
        "later_fine": ([Answer(status=500), answer(media / "clip2.mp4")], None),
        "octets": ([answer(media / "clip3.mp4", content_type="application/octet-stream")], None),
        "packed": ([Answer(body=packed, headers=gzipped)], None),
        "packed_cut": ([Answer(body=packed, headers=gzipped, cut_at=999)], "network"),
        "404": (
            [Answer(status=404, body=b"This private video", content_type="text/plain")],
            "gone",
        ),
        "410": ([Answer(status=410)], "gone"),
        "403": ([Answer(status=403)], "forbidden"),
        "500": ([Answer(status=500)], "network"),
        "empty": ([Answer()], "network"),
        "stalls": ([Answer(body=data, stall_seconds=30, stall_at=1000)], "network"),
        "cut": ([Answer(body=data, cut_at=len(data) // 2)], "network"),
        "too_long_announced": ([Answer(body=data, announced_bytes=len(data) + 999)], "network"),
        "too_short_announced": ([Answer(body=data, announced_bytes=len(data) // 2)], "corrupt"),
        "half_a_file": ([Answer(body=data[: len(data) // 2])], "corrupt"),
        "half_with_header": ([Answer(body=front[: len(front) // 2])], "corrupt"),
        "noise": ([Answer(body=random.Random(0).randbytes(20000))], "corrupt"),
        "page": ([page("Welcome to our site. <video src='/fine.mp4'></video>")], "unknown"),
        "page_as_video": ([Answer(body=page("Oops").body, content_type="video/mp4")], "unknown"),
        "mute": ([answer(media / "mute.mp4")], "no_audio"),
        "sound_only": ([answer(media / "sound_only.mp4")], "no_video"),
        "short": ([answer(media / "short.mp4")], "too_short"),
        "again": ([good], "duplicate"),
        "private": (
            [page("Private video. Sign in if you\u2019ve been granted access to this video")],
            "private",
        ),
        "age": (
            [page("Sign in to confirm your age. This video may be inappropriate for some users.")],
            "age_restricted",
        ),
        "members": (
            [page("Join this channel to get access to members-only content")],
            "members_only",
        ),
        "terminated": (
            [page("the YouTube account associated with this video has been terminated")],
            "account_terminated",
        ),
        "geo": (
            [page("The uploader has not made this video available in your country")],
            "geo_blocked",
        ),
        "copyright": ([page("no longer available due to a copyright claim by X")], "copyright"),
        "removed": ([page("This video has been removed by the uploader")], "removed"),
        "upcoming": ([page("Premieres in 3 hours")], "upcoming"),
        "drm": ([page("This video is DRM protected")], "drm"),
        "unavailable": ([page("Video unavailable")], "unavailable"),
    }


def test_every_misbehaviour_ends_with_its_reason(tmp_path, media, server):
    """Statuses, lengths, stalls and pages of real servers: nothing bad is published."""
    cases = make_cases(media)
    rows = [(name, server.add(f"/{name}.mp4", *answers)) for name, (answers, _) in cases.items()]
    cases["no_address"] = ([], "unknown")
    rows.append(("no_address", "http://[::1/no_address.mp4"))
    found = download(tmp_path, clips_table(*rows), parameters=quick(num_quick_attempts=2))

    assert {name: row["reason"] for name, row in found.items()} == {
        name: reason for name, (_, reason) in cases.items()
    }
    assert [name for name, row in found.items() if row["status"] == "ok"] == [
        name for name, (_, reason) in cases.items() if reason is None
    ]
    assert {row["status"] for row in found.values()} == {"ok", "missing"}

    for name in ("fine", "-begins-with-minus", "later_fine", "octets", "packed"):
        row = found[name]
        assert sha256_of(tmp_path / "clips" / row["path"]) == row["sha256"]
        assert (row["width"], row["height"], row["fps"]) == (128, 72, 12.0)
        assert (row["video_codec"], row["audio_codec"], row["sample_rate"]) == (
            "h264",
            "aac",
            16000,
        )
        assert row["duration_seconds"] == pytest.approx(2.0, abs=0.2)
        assert row["bytes"] == os.path.getsize(tmp_path / "clips" / row["path"])
    assert published(tmp_path) == {
        f"{name}.mp4"
        for name in ("fine", "-begins-with-minus", "later_fine", "octets", "packed", "again")
    }
    assert found["later_fine"]["attempts"] == found["403"]["attempts"] == 2
    assert (
        found["404"]["attempts"]
        == found["private"]["attempts"]
        == server.num_requests["/404.mp4"]
        == 1
    )
    assert found["again"]["detail"] == "has the same bytes as fine"
    assert "yt-dlp 20" in found["403"]["tool_versions"]
    assert "ffmpeg " in found["403"]["tool_versions"]

    # The next run sends no request: permanent clips are done, transient ones are not due.
    before = server.num_requests.copy()
    assert download(tmp_path, clips_table(*rows), parameters=quick(num_quick_attempts=2)) == found
    assert server.num_requests == before


def test_a_changed_source_file_is_fetched_again_and_an_unchanged_one_is_not(tmp_path, media):
    paths = [tmp_path / "in" / f"{n}.mp4" for n in range(3)]
    for number, path in enumerate(paths[:2]):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((media / f"clip{number}.mp4").read_bytes())
    clips = clips_table(*((path.stem, path.as_uri()) for path in paths))
    first = download(tmp_path, clips)
    assert [row["status"] for row in first.values()] == ["ok", "ok", "missing"]

    os.utime(paths[0])  # another time, the same content
    paths[1].write_bytes((media / "clip4.mp4").read_bytes())
    paths[2].write_bytes((media / "clip5.mp4").read_bytes())
    second = download(tmp_path, clips)
    assert [row["status"] for row in second.values()] == ["ok"] * 3
    assert second["0"] == first["0"]
    assert (
        second["1"]["sha256"]
        == sha256_of(paths[1])
        == sha256_of(tmp_path / "clips" / second["1"]["path"])
    )

    paths[0].unlink()
    assert download(tmp_path, clips) == second  # the copy outlives its source


def test_flags_are_facts_not_failures(tmp_path, media):
    rows = [
        ("flat", (media / "silent_still.mp4").as_uri()),
        ("lively", (media / "clip0.mp4").as_uri()),
    ]
    found = download(tmp_path, clips_table(*rows))
    assert found["flat"]["flags"] == ["silent", "still"]
    assert found["lively"]["flags"] == []
    assert {row["status"] for row in found.values()} == {"ok"}


def test_a_lost_or_damaged_file_is_fetched_again(tmp_path, media, server):
    rows = [
        (name, server.add(f"/{name}.mp4", answer(media / f"clip{n}.mp4")))
        for n, name in enumerate("abc")
    ]
    first = download(tmp_path, clips_table(*rows))
    (tmp_path / "clips" / "a.mp4").unlink()
    (tmp_path / "clips" / "b.mp4").write_bytes(b"half")
    second = download(tmp_path, clips_table(*rows))
    assert [second[name]["sha256"] for name in "abc"] == [first[name]["sha256"] for name in "abc"]
    assert [server.num_requests[f"/{name}.mp4"] for name in "abc"] == [2, 2, 1]


def test_a_list_that_begins_with_no_address_is_fetched_all_the_same(tmp_path, media, server):
    """Workers prepare for the first URL of the list: it must not end them."""
    rows = [
        ("no_address", "http://[::1/no_address.mp4"),
        ("fine", server.add("/fine.mp4", answer(media / "clip0.mp4"))),
    ]
    found = download(tmp_path, clips_table(*rows), parameters=quick(num_quick_attempts=1))
    assert (found["no_address"]["reason"], found["fine"]["status"]) == ("unknown", "ok")
