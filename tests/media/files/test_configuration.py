"""Pictures of files whose decoder gets another configuration on the way."""

import av
import numpy as np
import pytest

from pipeline.media.files.configuration import may_change_configuration
from pipeline.media.reader import ClipReader
from tests.helpers.media.changing_headers import (
    write_flv_with_two_headers,
    write_mp4_with_two_descriptions,
)
from tests.helpers.media.clip_factory import make_clip, read_frames
from tests.helpers.media.full_decode import check_against_full_decode, decode_all, find_shown

# x264 writes the quantizer into the picture parameter set. So a decoder that still has the set of
# the first part decodes the second one without an error, into other pictures.
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-bf", "0")
PARTS = {
    "quantizer": (("-qp", "22"), ("-qp", "36")),
    "entropy coding": (("-qp", "22"), ("-qp", "22", "-coder", "1")),
    "references": (("-qp", "22"), ("-qp", "30", "-preset", "veryfast", "-refs", "4")),
}
SECONDS = 1.6  # of each part


def make_file(folder, suffix, parts, *, second_size="96x64"):
    """Write a file of two parts of one second and a half."""
    first, second = (
        make_clip(
            folder / f"part{number}{suffix}",
            *X264,
            *options,
            size=size,
            seconds=SECONDS,
            sound=None,
        )
        for number, (options, size) in enumerate(zip(parts, ("96x64", second_size), strict=True))
    )
    if suffix == ".flv":
        begin_ms = int(1000 * SECONDS)
        return write_flv_with_two_headers(folder / "clip.flv", first, second, begin_ms=begin_ms)
    return write_mp4_with_two_descriptions(folder / "clip.mp4", first, second)


@pytest.mark.parametrize("suffix", [".flv", ".mp4"])
@pytest.mark.parametrize("change", PARTS)
def test_frames_equal_a_full_decode(tmp_path, suffix, change):
    path = make_file(tmp_path, suffix, PARTS[change])
    check_against_full_decode(path, last_time=2 * SECONDS, num_times=8)


@pytest.mark.parametrize("suffix", [".flv", ".mp4"])
def test_frames_of_another_size_equal_a_full_decode(tmp_path, suffix):
    path = make_file(tmp_path, suffix, PARTS["quantizer"], second_size="128x96")
    check_against_full_decode(path, last_time=2 * SECONDS, num_times=6)
    with ClipReader(path) as reader:
        heights = [frame.height for frame in reader.iter_frames([0.5, 2.5])]
    assert heights == [64, 96]


@pytest.mark.parametrize("suffix", [".flv", ".mp4"])
def test_frames_do_not_depend_on_what_was_read_before(tmp_path, suffix):
    path = make_file(tmp_path, suffix, PARTS["quantizer"])
    frames = decode_all(path, last_time=4.0)
    # Nothing is wanted of the second part's first group, whose packet announces the change.
    for passes in ([[0.3, 2.9]], [[2.9], [0.3], [2.5]], [[1.7], [2.1, 3.0], [1.5]]):
        with ClipReader(path) as reader:
            for times in passes:
                for time, frame in zip(times, read_frames(reader, times), strict=True):
                    np.testing.assert_array_equal(frame.rgb, find_shown(frames, time))


@pytest.mark.parametrize("suffix", [".flv", ".mp4", ".mkv", ".mov", ".ts"])
def test_usual_files_keep_their_configuration(tmp_path, suffix):
    path = make_clip(tmp_path / f"clip{suffix}", *X264, "-c:a", "aac", size="96x64", seconds=1)
    with av.open(str(path)) as container:
        assert not may_change_configuration(path, container.streams.video[0])


@pytest.mark.parametrize(
    "name", ["flvhdr_cavlc_qp.flv", "flvhdr_cavlc_size.flv", "stsdv_qp36.mp4", "stsdv_ref.mp4"]
)
def test_given_files_equal_a_full_decode(shared, name):
    check_against_full_decode(shared("faults", name), last_time=4.9, num_times=6)
