"""Compare the frames that a clip shows with a full decode: alone, in pairs and in one pass."""

import random

import av
import numpy as np

from pipeline.media.files.timeline import choose_stream
from pipeline.media.reader import ClipReader
from tests.helpers.media.clip_factory import read_frames


def decode_all(path, *, last_time):
    """Decode every frame up to a time in a plain loop: its seconds on the timeline and its RGB."""

    with ClipReader(path) as reader:
        origin = reader.origin_seconds

    frames = []

    with av.open(str(path)) as container:
        try:
            for frame in container.decode(choose_stream(container, "video")):
                frames.append((frame.time - origin, frame.to_ndarray(format="rgb24")))
                if frame.time - origin > last_time:
                    break
        except av.FFmpegError:
            assert frames, "nothing decodes"

    return frames


def find_shown(frames, time):
    """Return the RGB of the frame shown at a time, of all that ``decode_all`` gave."""
    shown = [rgb for seconds, rgb in frames if seconds <= time + 1e-6]
    return shown[-1] if shown else frames[0][1]


def check_against_full_decode(path, *, last_time, num_times=12, turn=lambda rgb: rgb):
    """Compare frames at random times and at frames' own times, in pairs and in one pass."""
    frames = decode_all(path, last_time=last_time)
    rng = random.Random(path.name)
    times = [rng.uniform(-0.1, last_time) for _ in range(num_times)]
    times += [seconds for seconds, _ in frames[:: max(1, len(frames) // 5)] if seconds <= last_time]

    for time in times:
        with ClipReader(path) as reader:
            wanted = [time, time + 0.125] if time + 0.125 < last_time else [time]
            for at, frame in zip(wanted, read_frames(reader, wanted), strict=True):
                expected = turn(find_shown(frames, at))
                assert np.array_equal(frame.rgb, expected), f"{path.name} at {at}"

    with ClipReader(path) as reader:
        for time, frame in zip(times, read_frames(reader, times), strict=True):
            expected = turn(find_shown(frames, time))
            assert np.array_equal(frame.rgb, expected), f"{path.name} at {time}, in one pass"
