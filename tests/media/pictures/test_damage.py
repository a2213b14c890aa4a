"""A lost transport packet takes the pictures up to the next keyframe, and no others."""

import av
import numpy as np
import pytest

from earshot.errors import MediaError
from pipeline.media.reader import ClipReader
from tests.helpers.media.clip_factory import H264, make_clip

PACKET_BYTES = 188
FRAME_SECONDS = 0.04
CODECS = {
    "h264": (*H264, "-bf", "2", "-g", "12", "-b:v", "400k"),
    "h264 open groups": (*H264, "-g", "12", "-x264-params", "open-gop=1:bframes=3", "-b:v", "400k"),
    "mpeg2": ("-c:v", "mpeg2video", "-bf", "2", "-g", "12", "-b:v", "800k", "-c:a", "mp2"),
    "hevc": (
        *("-c:v", "libx265", "-preset", "ultrafast", "-b:v", "400k", "-c:a", "mp2"),
        *("-x265-params", "keyint=12:min-keyint=12:open-gop=1:scenecut=0:log-level=0"),
    ),
}


@pytest.fixture(scope="module", params=CODECS)
def whole(request, tmp_path_factory):
    """A recording of two seconds."""
    folder = tmp_path_factory.mktemp("damage")
    return make_clip(folder / "whole.ts", *CODECS[request.param], size="96x64", seconds=2)


def read_each(path, times):
    """Return the RGB shown at each time, or the error, in one pass."""
    results, rest = [], list(times)
    with ClipReader(path) as reader:
        while rest:
            try:
                for frame in reader.iter_frames(rest):
                    results.append(frame.rgb)
                    rest.pop(0)
            except MediaError as error:
                results.append(error)
                rest.pop(0)
    return results


def read_pictures(path):
    """Return the first byte of each picture in the file, and when keyframes are shown."""
    with ClipReader(path) as reader:
        origin = reader.origin_seconds
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        keyframes = [packet.pts * packet.time_base for packet in packets if packet.is_keyframe]
        video_id = container.streams.video[0].id
    positions = [packet.pos for packet in packets]
    return positions, [float(seconds) - origin for seconds in keyframes], video_id


def lose(path, target, *, number, position, stream_id):
    """Copy a file without the ``number``th of a stream's packets from a position on."""
    data = path.read_bytes()
    for begin in range(position, len(data), PACKET_BYTES):
        if int.from_bytes(data[begin + 1 : begin + 3], "big") & 0x1FFF == stream_id:
            number -= 1
            if number < 0:
                target.write_bytes(data[:begin] + data[begin + PACKET_BYTES :])
                return
    raise AssertionError("the stream has fewer packets")


# Which picture, in decoding order, loses which of its packets: its head, or one behind that.
@pytest.mark.parametrize(("picture", "number"), [(0, 3), (5, 0), (12, 2), (14, 1), (24, 0)])
def test_pictures_behind_the_next_keyframe_are_whole(tmp_path, whole, picture, number):
    positions, keyframes, video_id = read_pictures(whole)
    path = tmp_path / "lost.ts"
    position = positions[picture]
    lose(whole, path, number=number, position=position, stream_id=video_id)

    times = [0.02 + FRAME_SECONDS * index for index in range(50)]
    truth, found = read_each(whole, times), read_each(path, times)
    lost = [time for time, one in zip(times, found, strict=True) if isinstance(one, MediaError)]
    for time, expected, one in zip(times, truth, found, strict=True):
        if time not in lost:
            np.testing.assert_array_equal(one, expected, err_msg=f"at {time}")

    # One range is lost. It ends at the first keyframe behind the damage (a lost head can take the
    # picture before as well), and has no more than one group and the pictures before its keyframe.
    assert len(lost) == pytest.approx((lost[-1] - lost[0]) / FRAME_SECONDS + 1)
    assert any(0 <= keyframe - lost[-1] < FRAME_SECONDS for keyframe in keyframes)
    assert 1 <= len(lost) <= 12 + 4
    errors = [one for one in found if isinstance(one, MediaError)]
    assert {error.reason for error in errors} == {"corrupt"}
    assert all("the video is damaged from" in str(error) for error in errors)

    # What a moment gets does not depend on the others.
    for index in (0, 13, 26, 49, times.index(lost[0]), times.index(lost[-1])):
        (alone,) = read_each(path, [times[index]])
        if isinstance(alone, MediaError):
            assert str(alone) == str(found[index])
        else:
            np.testing.assert_array_equal(alone, found[index])


def test_a_loss_behind_the_last_keyframe_takes_the_rest(tmp_path, whole):
    positions, keyframes, video_id = read_pictures(whole)
    path = tmp_path / "lost.ts"
    # The keyframe itself is damaged; in these files it is one of the last two pictures.
    last_keyframe = round(keyframes[-1] / FRAME_SECONDS)
    lose(whole, path, number=1, position=positions[last_keyframe - 1], stream_id=video_id)
    found = read_each(path, [1.0, 1.99])
    assert isinstance(found[0], np.ndarray)
    assert "the video breaks after" in str(found[1]) and "packets of it are lost" in str(found[1])


def test_a_loss_in_the_sound_takes_no_picture(tmp_path, whole):
    with av.open(str(whole)) as container:
        audio_id = container.streams.audio[0].id
    path = tmp_path / "lost.ts"
    lose(whole, path, number=10, position=0, stream_id=audio_id)
    times = [0.1, 0.9, 1.7]
    for expected, found in zip(read_each(whole, times), read_each(path, times), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_given_file_goes_on_at_its_next_keyframe(shared):
    path = shared("faults", "ts_loss_v1.ts")
    times = [index * 0.1 + 0.02 for index in range(80)]
    found = read_each(path, times)
    lost = [time for time, one in zip(times, found, strict=True) if isinstance(one, MediaError)]
    assert 3.4 < lost[0] < 3.6 and lost[-1] < 4.27 and len(lost) <= 9
