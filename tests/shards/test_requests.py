"""Counting requests in columns gives what making them one by one gives."""

import random

import pyarrow as pa
import pytest

from earshot.tables import DOWNLOADS, SAMPLES
from pipeline.shards.requests import count_requests, find_clips, make_requests
from tests.helpers.cache.fake_features import make_feature

STATES = (
    {"status": "ok"},
    {"status": "ok", "flags": ["silent", "no_audio"]},
    {"status": "missing", "reason": "removed"},
    {"status": "pending"},
    {"status": "pending", "reason": "network"},
)


def make_tables(num_clips: int) -> tuple[pa.Table, pa.Table]:
    """Return samples and downloads in which every state occurs with every other one."""
    generator = random.Random(0)
    names = [f"c{number}" for number in range(num_clips)]
    downloads = [
        {"clip_id": name, "path": f"{name}.mp4", "sha256": f"{number:064x}", "flags": []}
        | STATES[number % len(STATES)]
        for number, name in enumerate(names)
    ]
    samples = [
        {
            "sample_id": f"s{number}",
            # Some clips are newer than the table of downloads.
            "clip_id": generator.choice([*names, "new"]),
            "audio_clip_id": generator.choice([None, *names, "new"]),
            "time_seconds": generator.choice([None, 1.0, 2.5]),
        }
        for number in range(20 * num_clips)
    ]
    return (
        pa.Table.from_pylist(samples, schema=SAMPLES.columns),
        pa.Table.from_pylist(downloads, schema=DOWNLOADS.columns),
    )


@pytest.mark.parametrize("name", ["frames", "spectrograms"])
@pytest.mark.parametrize("num_cached", [0, 40])
def test_the_counts_are_those_of_the_requests(name, num_cached, tmp_path):
    samples, downloads = make_tables(15)
    feature = make_feature(name)
    requests = make_requests(feature, samples, *find_clips(downloads, tmp_path))
    keys = [request.key for request in requests if request.key is not None]
    cached = set(keys[:num_cached])

    counts = count_requests(feature, samples, downloads, cached)
    assert counts.num_there == sum(request.key in cached for request in requests)
    assert counts.to_do.tolist() == [
        request.key not in cached if request.key else request.reason == "pending"
        for request in requests
    ]
    assert counts.num_to_do > 20 and (counts.num_there > 20) == bool(num_cached)
