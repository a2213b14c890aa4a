"""The embedded dataset: complete tables, whole and broken files, resumption, and the seed."""

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import av
import pytest

from earshot.errors import DataError, ParameterError
from earshot.tables import CLIPS, SAMPLES, read_table, write_table
from pipeline.base.parameters import build
from pipeline.datasets.dataset import load
from pipeline.datasets.sample.dataset import build_tables
from pipeline.datasets.sample.entries import BROKEN, Parameters, file_name, list_entries

SMALL = Parameters(
    num_train=3,
    num_val=1,
    num_single=2,
    num_traffic=2,
    num_final=1,
    duration_seconds=1.0,
    num_workers=1,
)
NUM_CLIPS = 3 + 1 + 2 + 2 + 2 + len(BROKEN)


def path_of(clip: dict) -> Path:
    url = urlparse(clip["url"])
    assert url.scheme == "file"
    return Path(unquote(url.path))


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.mp4"))
    }


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Cache folder and tables of a tiny dataset, rendered once."""
    cache_dir = tmp_path_factory.mktemp("sample cache")  # a space: URLs must quote it
    clips, samples = build_tables(SMALL, cache_dir=cache_dir)
    return cache_dir, clips.to_pylist(), samples.to_pylist()


def test_tables_are_whole(rendered, tmp_path):
    _, clips, samples = rendered
    assert len(clips) == len(samples) == NUM_CLIPS
    write_table(tmp_path / "clips.parquet", clips, CLIPS)
    write_table(tmp_path / "samples.parquet", samples, SAMPLES)
    clips = read_table(tmp_path / "clips.parquet", CLIPS).to_pylist()
    samples = read_table(tmp_path / "samples.parquet", SAMPLES).to_pylist()
    assert (
        len({clip["clip_id"] for clip in clips})
        == len({sample["sample_id"] for sample in samples})
        == NUM_CLIPS
    )
    assert {sample["clip_id"] for sample in samples} == {clip["clip_id"] for clip in clips}
    by_split = {}
    for sample in samples:
        for split in sample["splits"]:
            by_split.setdefault(split, []).append(sample)
    assert {split: len(rows) for split, rows in by_split.items()} == {
        "train": 3 + len(BROKEN),
        "val": 1,
        "test": 4,
        "single": 2,
        "traffic": 2,
        "final": 2,
        "final_single": 1,
        "final_traffic": 1,
    }
    for sample in samples:
        facts = dict(sample["attributes"])
        assert (
            len(sample["boxes"]) == len(sample["box_annotators"]) == int(facts["num_sounding"]) >= 1
        )
        assert len(sample["label"].split("+")) == int(facts["num_sounding"])
        assert int(facts["num_objects"]) >= int(facts["num_sounding"])
    for sample in by_split["single"]:
        assert dict(sample["attributes"])["num_objects"] == "1"
    for sample in by_split["traffic"]:
        facts = dict(sample["attributes"])
        assert (
            facts["subset"] == "traffic"
            and int(facts["num_objects"]) >= 4
            and facts["source_is_moving"] == "true"
        )


def test_whole_clips_are_h264_with_aac(rendered):
    _, clips, _ = rendered
    for clip in clips:
        if clip["clip_id"].rsplit("_", 1)[0] in BROKEN:
            continue
        with av.open(str(path_of(clip))) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
            assert float(video.duration * video.time_base) == pytest.approx(1.0, abs=0.01)
            assert float(audio.duration * audio.time_base) == pytest.approx(1.0, abs=0.07)
            assert float(video.average_rate) == SMALL.fps


def test_broken_entries_are_broken_as_named(rendered):
    _, clips, _ = rendered
    path = {
        clip["clip_id"].rsplit("_", 1)[0]: path_of(clip)
        for clip in clips
        if clip["clip_id"].endswith("_0000")
    }
    assert set(BROKEN) <= set(path)
    assert not path["removed"].exists()
    with pytest.raises(av.FFmpegError):
        av.open(str(path["truncated"])).close()
    with av.open(str(path["no_audio"])) as container:
        assert not container.streams.audio and container.streams.video
    with av.open(str(path["no_video"])) as container:
        assert container.streams.audio and not container.streams.video
    with av.open(str(path["too_short"])) as container:
        assert container.duration / av.time_base < 0.6
    assert path["duplicate"] != path["train"]
    assert path["duplicate"].read_bytes() == path["train"].read_bytes()


def test_second_run_renders_nothing(rendered):
    cache_dir, clips, samples = rendered
    before = {path: path.stat().st_mtime_ns for path in (cache_dir / "remote").iterdir()}
    tables = build_tables(SMALL, cache_dir=cache_dir)
    assert [table.to_pylist() for table in tables] == [clips, samples]
    assert {path: path.stat().st_mtime_ns for path in (cache_dir / "remote").iterdir()} == before


def test_damaged_files_are_rendered_again(rendered):
    cache_dir, _, _ = rendered
    remote_dir = cache_dir / "remote"
    expected = digests(remote_dir)
    cut, flipped, gone = (
        next(remote_dir.glob(f"{name}-*")) for name in ("train_0001", "val_0000", "traffic_0001")
    )
    cut.write_bytes(cut.read_bytes()[:1000])
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1  # same size, other content
    flipped.write_bytes(content)
    gone.unlink()
    (remote_dir / ".tmp-0123abcd-train_0002.mp4").write_bytes(b"half")
    (remote_dir / "train_9999-00000000.mp4").write_bytes(b"of other parameters")
    with open(remote_dir / "rendered.jsonl", "a", encoding="utf-8") as ledger:
        ledger.write('{"file": "train_0000-')  # killed while writing
    build_tables(SMALL, cache_dir=cache_dir)
    assert digests(remote_dir) == expected
    assert not list(remote_dir.glob(".tmp-*"))
    build_tables(
        SMALL, cache_dir=cache_dir
    )  # the line that was cut off must not make the ledger unreadable


def test_damaged_ledger_is_named(tmp_path):
    (tmp_path / "remote").mkdir()
    (tmp_path / "remote" / "rendered.jsonl").write_text(
        'not json\n{"file": "a", "bytes": 1, "sha256": "b"}\n'
    )
    with pytest.raises(DataError, match=r"rendered\.jsonl:1: not a JSON line"):
        build_tables(SMALL, cache_dir=tmp_path)


def test_same_seed_same_bytes_whatever_the_workers(rendered, tmp_path):
    cache_dir, _, _ = rendered
    other = Parameters(**{**vars(SMALL), "num_workers": 2})
    build_tables(other, cache_dir=tmp_path)
    assert digests(tmp_path / "remote") == digests(cache_dir / "remote")


def test_a_changed_content_changes_the_url():
    def names(**changes):
        parameters = Parameters(**{**vars(SMALL), **changes})
        return {entry.clip_id: file_name(entry, parameters) for entry in list_entries(parameters)}

    first = names()
    for changes in ({"seed": 1}, {"fps": 25}, {"duration_seconds": 2.0}):
        assert not set(names(**changes).values()) & set(first.values())
    more = names(num_train=5)
    assert all(more[clip_id] == name for clip_id, name in first.items()), (
        "more clips must leave the others as they are"
    )


def test_scenes_of_both_kinds_in_proportion():
    entries = list_entries(
        Parameters(
            num_train=100,
            num_val=10,
            num_single=0,
            num_traffic=0,
            num_final=0,
            traffic_fraction=0.3,
        )
    )
    kinds = [
        entry.scene.kind for entry in entries if entry.splits == ("train",) and entry.defect is None
    ]
    assert kinds.count("traffic") == 30 and kinds[:50].count("traffic") == 15


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_train": -1}, "num_train is -1, expected 0 or more"),
        ({"traffic_fraction": 1.5}, "traffic_fraction is 1.5, expected 0 to 1"),
        ({"fps": 2}, "fps is 2, expected 8 to 60"),
        ({"duration_seconds": 0.2}, "duration_seconds is 0.2, expected 1 to 600"),
        ({"num_workers": 0}, "num_workers is 0, expected 1 or more"),
        ({"nm_train": 3}, "unknown key sources.sample.nm_train"),
    ],
)
def test_wrong_parameters_are_named(values, message):
    with pytest.raises(ParameterError, match=re.escape(message)):
        build(load("sample").parameters, values, "sources.sample")
