"""Benchmark (a): frame, flow and spectrogram of a clip, against the published procedure and against the floor.

    python -m benchmarks.extraction [--clips FILE_OR_FOLDER ...] [--repeats 5] [--clock wall|cpu] [--json OUT.json]

Per clip, one thread a side, the sides taking turns, the best of the repeats:

- ``ours``: ``extract_features`` for the clip's centre (frame, 257x300 spectrogram, flow).
- ``published``: HTF's preprocessing written anew from its description: ``librosa.load`` of the whole file at 22.05 kHz,
  ``cv2.VideoCapture``: seek to the middle frame, read, seek to the next, read; Farneback at native size. Nothing is
  resized, encoded or written, which HTF also does.
- ``floor``: decode the two frames that flow needs and 3 s of audio with PyAV, OpenCV's Farneback at native size,
  nothing else.

Without --clips it renders H.264 + AAC clips of 10 s, 640x360, with sound and moving pictures. Clips without audio
leave the audio step out on every side.
"""

import argparse
import json
import math
import os
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import librosa
import numpy as np

from benchmarks.clips import find_clips, render_clips
from pipeline.features import flow, frames, spectrograms
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.kernels.farneback import load_refine_level
from pipeline.media.ffmpeg import find_ffmpeg
from pipeline.media.reader import ClipReader, probe

FARNEBACK = (0.5, 3, 15, 3, 5, 1.2, 0)


def run_ours(path: Path) -> None:
    """One pass over the clip for all three features."""
    features = [
        frames.make_feature(frames.Parameters()),
        spectrograms.make_feature(spectrograms.Parameters()),
        flow.make_feature(flow.Parameters()),
    ]
    (extracted,) = extract_features(path, [Moment("centre", None)], features)
    missing = {
        name: one.reason
        for name, one in extracted.items()
        if one.array is None and one.reason != "no_audio"
    }
    if missing:
        raise ValueError(f"{path.name}: not extracted: {missing}")


def run_published(path: Path, *, has_audio: bool) -> None:
    """HTF's procedure."""
    if has_audio:
        waveform, _ = librosa.load(path, sr=22050)
        middle = len(waveform) // 2
        waveform[max(0, int(middle - 1.5 * 22050)) : int(middle + 1.5 * 22050)].copy()
    capture = cv2.VideoCapture(str(path))
    middle_frame = capture.get(cv2.CAP_PROP_FRAME_COUNT) // 2
    capture.set(cv2.CAP_PROP_POS_FRAMES, middle_frame)
    is_read, image = capture.read()
    capture.set(cv2.CAP_PROP_POS_FRAMES, middle_frame + 1)
    is_next_read, next_image = capture.read()
    if not (is_read and is_next_read):
        raise ValueError(f"{path.name}: cv2.VideoCapture cannot read its middle frames")
    previous, following = (cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in (image, next_image))
    cv2.calcOpticalFlowFarneback(previous, following, None, *FARNEBACK)


def run_floor(path: Path, *, centre_seconds: float, has_audio: bool) -> None:
    """Only what cannot be left out."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.thread_count = 1
        half_frame = 0.5 / float(stream.average_rate or 25)
        container.seek(int(centre_seconds / stream.time_base), stream=stream)
        kept = []
        for frame in container.decode(stream):
            if frame.time + half_frame >= centre_seconds or not kept:
                kept = [*kept[:1], frame]
            if frame.time + half_frame >= centre_seconds + 0.125:
                break
        previous, following = kept[0].to_ndarray(format="gray"), kept[-1].to_ndarray(format="gray")
    cv2.calcOpticalFlowFarneback(previous, following, None, *FARNEBACK)
    if has_audio:
        with av.open(str(path)) as container:
            stream = container.streams.best("audio")
            container.seek(int(max(centre_seconds - 1.5, 0) / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                frame.to_ndarray()
                if frame.time >= centre_seconds + 1.5:
                    break


def read_cpu_seconds() -> float:
    """Processor seconds of this process and of those that it started and that ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": read_cpu_seconds}


def measure_clip(path: Path, *, repeats: int, read_clock: Callable[[], float]) -> dict:
    """Best seconds of each side for one clip."""
    info = probe(path)
    with ClipReader(path) as reader:
        centre = reader.info.duration_seconds / 2 + reader.origin_seconds
    sides: dict[str, Callable] = {
        "ours": lambda: run_ours(path),
        "published": lambda: run_published(path, has_audio=info.has_audio),
        "floor": lambda: run_floor(path, centre_seconds=centre, has_audio=info.has_audio),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            start = read_clock()
            run()
            seconds[name].append(read_clock() - start)
    best = {name: min(values) for name, values in seconds.items()}
    return {
        "clip": path.name,
        "has_audio": info.has_audio,
        "width": info.width,
        "height": info.height,
        **best,
    }


def geometric_mean(values: list[float]) -> float:
    """Geometric mean of positive numbers."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table, and say whether the bounds (3x the published procedure, 1.25x the floor) hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--clips", nargs="*", type=Path, help="media files or folders (default: rendered clips)"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: on a machine that has other work"
    )
    parser.add_argument("--json", type=Path, help="write the measurements here")
    arguments = parser.parse_args(argv)
    cv2.setNumThreads(1)
    warnings.simplefilter("ignore")  # librosa announces its fallback to audioread for every file
    with tempfile.TemporaryDirectory() as folder:
        # librosa decodes MP4 through audioread, which wants a program called ffmpeg.
        Path(folder, "ffmpeg").symlink_to(find_ffmpeg())
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        os.environ["OPENCV_FFMPEG_THREADS"] = "1"
        paths = (
            find_clips(arguments.clips)
            if arguments.clips
            else render_clips(Path(folder), num_clips=4)
        )
        librosa.stft(
            np.zeros(1024, np.float32), n_fft=512
        )  # its imports are no part of either side,
        load_refine_level()  # nor is what a machine compiles once
        rows = []
        for path in paths:
            try:
                row = measure_clip(
                    path, repeats=arguments.repeats, read_clock=CLOCKS[arguments.clock]
                )
            except Exception as error:  # a clip that one side cannot read at all cannot be compared
                print(f"{path.name:28s} left out: {type(error).__name__}: {str(error)[:90]}")
                continue
            rows.append(row)
            sound = "audio" if row["has_audio"] else "mute"
            speedup, over_floor = row["published"] / row["ours"], row["ours"] / row["floor"]
            sides = "".join(
                f"  {name} {row[name] * 1000:7.1f} ms" for name in ("ours", "published", "floor")
            )
            print(
                f"{row['clip']:28s} {row['width']:4d}x{row['height']:<4d} {sound:5s}{sides}"
                f"  published/ours {speedup:5.2f}  ours/floor {over_floor:5.2f}"
            )
    if not rows:
        print("no clip could be measured", file=sys.stderr)
        return 1
    summary = {"speedup": geometric_mean([row["published"] / row["ours"] for row in rows])}
    summary["over_floor"] = geometric_mean([row["ours"] / row["floor"] for row in rows])
    print(
        f"geometric means over {len(rows)} clips: {summary['speedup']:.2f}x the published procedure (bound 3), ",
        end="",
    )
    print(f"{summary['over_floor']:.2f}x the floor's time (bound 1.25)")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, **summary}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
