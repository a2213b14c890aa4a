"""Compare windows, cuts and joins with a plain decode: 14 containers, late, uneven and plain.

Every frame shows its number and the sound is known noise, so each of the more than 200 cases is
right to the frame and, in the sound, to half a millisecond, or it is named. Takes a few minutes.
"""

import argparse
import functools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from earshot.errors import MediaError
from pipeline.media.cut import cut_clip
from pipeline.media.files.ffmpeg import find_ffmpeg
from pipeline.media.mux import mux
from tests.helpers.media.coded_media import (
    SECTIONS,
    Truth,
    cut_coded,
    decode_truth,
    find_faults,
    find_join_faults,
    list_files,
    make_coded,
)

_MAX_HEIGHT = 1000  # pixels: nothing shrinks
_LIMIT_SECONDS = 120.0


def main(argv: list[str] | None = None) -> int:
    """Check all cases, or those whose file's name contains one of the words; 1 if any is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exactness", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="part of a file's name")
    words = parser.parse_args(argv).words

    num_cases = num_wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for container, layout in list_files():
            if words and not any(word in f"{layout}-{container}" for word in words):
                continue
            for case, faults in _check_file(Path(folder), container, layout):
                num_cases += 1
                num_wrong += bool(faults)
                for fault in faults:
                    print(f"{layout} {container}, {case}: {fault}", flush=True)

    print(f"{num_cases - num_wrong} of {num_cases} cases are right")
    return 1 if num_wrong or not num_cases else 0


def _check_file(folder: Path, container: str, layout: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each case of one file, with what is wrong in it."""
    path = make_coded(folder, container, layout)
    truth = decode_truth(path)
    yield "windows", find_faults(truth, path, start_seconds=0.0, seconds=truth.stop_seconds)

    cut = functools.partial(
        cut_clip,
        max_height=_MAX_HEIGHT,
        ffmpeg_path=find_ffmpeg(),
        limit_seconds=_LIMIT_SECONDS,
    )
    for section in SECTIONS:
        yield f"cut {section}", _check_cut(truth, path, folder / "cut.mp4", section, cut)

    # The picture of this file with the noise of another one.
    yield "join", _check_join(truth, path, folder)


def _check_join(truth: Truth, path: Path, folder: Path) -> list[str]:
    try:
        mux(path, folder / "noise.wav", folder / "joined.mkv")
    except MediaError as error:
        # Matroska does not hold every codec: a refusal is right.
        return [] if "does not support" in str(error) else [str(error)]
    return find_join_faults(truth, folder / "joined.mkv")


def _check_cut(
    truth: Truth,
    path: Path,
    cut_path: Path,
    section: tuple[float, float | None],
    cut: functools.partial,
) -> list[str]:
    cut_coded(path, cut_path, section, cut)
    start, stop = section[0], truth.stop_seconds
    if section[1] is not None:
        stop = min(stop, section[1])
    return find_faults(truth, cut_path, start_seconds=start, seconds=stop - start)


if __name__ == "__main__":
    sys.exit(main())
