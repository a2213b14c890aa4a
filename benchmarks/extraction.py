"""Extract frame, flow and spectrogram of a clip: against the published procedure and a floor.

    python -m benchmarks.extraction [--clips FILE_OR_FOLDER ...] [--repeats 5] [--clock wall|cpu]

Measures each clip with one thread a side. The sides take turns, and the best of the repeats counts:

- ``ours``: ``extract_features`` for the clip's centre (frame, 257x300 spectrogram, flow).
- ``published``: the preprocessing of Hear The Flow, written anew from its description.
  ``librosa.load`` reads the whole file at 22.05 kHz. ``cv2.VideoCapture`` seeks to the middle frame
  and reads it, then the next one. Farneback runs at the native size. Nothing is resized, encoded or
  written, which the original also does.
- ``floor``: what cannot be left out. PyAV decodes the two frames that flow needs and 3 s of audio,
  and OpenCV's Farneback runs at the native size.

Without --clips it renders H.264 and AAC clips of 10 s, 640x360. For clips without audio every side
leaves out the audio.
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

from benchmarks.inputs.clips import find_clips, render_clips
from pipeline.features import flow, frames, spectrograms
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.kernels.farneback import load_refine_level
from pipeline.media.files.ffmpeg import find_ffmpeg
from pipeline.media.reader import ClipReader, probe

FARNEBACK = (0.5, 3, 15, 3, 5, 1.2, 0)


def run_ours(path: Path) -> None:
    """Make one pass over the clip for all three features."""
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
    """Follow the procedure of Hear The Flow."""
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
    """Do only what cannot be left out."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.thread_count = 1

        # Decode from the keyframe before the centre; keep the frames there and 0.125 s later.
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
    """Return CPU seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": read_cpu_seconds}


def measure_clip(path: Path, *, repeats: int, read_clock: Callable[[], float]) -> dict:
    """Return the best seconds of each side for one clip, and facts about it."""
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
    """Return the geometric mean of positive numbers."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def measure_clips(
    paths: list[Path], *, repeats: int, read_clock: Callable[[], float]
) -> list[dict]:
    """Measure and print each clip; leave out those that one side cannot read."""
    rows = []
    for path in paths:
        try:
            row = measure_clip(path, repeats=repeats, read_clock=read_clock)
        except Exception as error:  # each side has exceptions of its own for bad media
            print(f"{path.name:28s} left out: {type(error).__name__}: {str(error)[:90]}")
            continue
        rows.append(row)

        sound = "audio" if row["has_audio"] else "mute"
        sides = "".join(
            f"  {name} {row[name] * 1000:7.1f} ms" for name in ("ours", "published", "floor")
        )
        print(
            f"{row['clip']:28s} {row['width']:4d}x{row['height']:<4d} {sound:5s}{sides}"
            f"  published/ours {row['published'] / row['ours']:5.2f}"
            f"  ours/floor {row['ours'] / row['floor']:5.2f}"
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    """Print a table, and the means beside their bounds (3x the published, 1.25x the floor)."""
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

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # librosa decodes MP4 through audioread, which needs a program called ffmpeg.
        (folder / "ffmpeg").symlink_to(find_ffmpeg())
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        os.environ["OPENCV_FFMPEG_THREADS"] = "1"
        paths = (
            find_clips(arguments.clips) if arguments.clips else render_clips(folder, num_clips=4)
        )

        # Lazy imports and compilation happen once a machine, so they belong to neither side.
        librosa.stft(np.zeros(1024, np.float32), n_fft=512)
        load_refine_level()
        rows = measure_clips(paths, repeats=arguments.repeats, read_clock=CLOCKS[arguments.clock])

    if not rows:
        print("no clip could be measured", file=sys.stderr)
        return 1
    summary = {
        "speedup": geometric_mean([row["published"] / row["ours"] for row in rows]),
        "over_floor": geometric_mean([row["ours"] / row["floor"] for row in rows]),
    }
    print(
        f"geometric means over {len(rows)} clips: "
        f"{summary['speedup']:.2f}x the published procedure (bound 3), "
        f"{summary['over_floor']:.2f}x the floor's time (bound 1.25)"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, **summary}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
