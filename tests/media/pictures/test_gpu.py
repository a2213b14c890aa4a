"""Frames that a GPU decodes: a made-up GPU, and a real one where there is one."""

import av
import numpy as np
import pytest

from earshot.errors import MediaError, ParameterError
from pipeline.media.files.media_file import MediaFile
from pipeline.media.pictures import gpu
from pipeline.media.pictures.sequential_reader import SequentialReader
from pipeline.media.reader import ClipReader
from tests.helpers.media.clip_factory import H264, make_clip, run_ffmpeg
from tests.helpers.media.fake_gpu import install_fake_gpu
from tests.helpers.media.hidden_damage import make_damaged_clip

HEVC_10 = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le")
VP9 = ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-c:a", "libopus", "-g", "12")
MAKES = {
    "b_frames.mp4": (*H264, "-bf", "3", "-g", "12"),
    "bt709.mkv": (*H264, "-g", "12", "-colorspace", "bt709", "-color_range", "tv"),
    "vp9.webm": VP9,
    "full_range.webm": (*VP9, "-vf", "scale=out_range=full", "-color_range", "pc"),
    "hevc_10_bits.mp4": (*HEVC_10, "-x265-params", "keyint=12:log-level=0"),
    "late.ts": (*H264, "-g", "12", "-output_ts_offset", "5"),
}
LEFT_TO_THE_CPU = {
    "mpeg4.mp4": ("-c:v", "mpeg4", "-g", "12"),
    "full_range.mp4": ("-c:v", "libx264", "-pix_fmt", "yuvj420p"),
    "wide_colours.mp4": ("-c:v", "libx264", "-pix_fmt", "yuv444p"),
}
TIMES = [0.0, 0.3, 0.34, 0.9, 1.4, 1.99]


@pytest.fixture
def fake_gpu(monkeypatch):
    return install_fake_gpu(monkeypatch)


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Make a clip of the tables above, once."""
    folder = tmp_path_factory.mktemp("gpu")

    def make_once(name):
        path = folder / name
        options = {**MAKES, **LEFT_TO_THE_CPU}[name]
        return path if path.exists() else make_clip(path, *options, size="160x96", seconds=2)

    return make_once


def read_all(path, times, decoder):
    """Return what is shown at each time: when it begins, RGB and grey, or why there is none."""
    found = []
    with ClipReader(path, decoder=decoder) as reader:
        for time in times:
            try:
                (frame,) = reader.iter_frames([time])
                found.append((frame.time_seconds, frame.rgb.tobytes(), frame.gray.tobytes()))
            except MediaError as error:
                found.append((error.reason, str(error)))
    return found


def count_from_gpu(path, times):
    with ClipReader(path, decoder="cuda") as reader:
        return sum(frame.is_from_gpu for frame in reader.iter_frames(times))


@pytest.mark.parametrize("name", MAKES)
def test_frames_in_the_gpus_format_have_the_cpus_bits(name, make, fake_gpu):
    path = make(name)
    assert read_all(path, TIMES, "cuda") == read_all(path, TIMES, "cpu")
    assert count_from_gpu(path, TIMES) == len(TIMES)


@pytest.mark.parametrize("name", LEFT_TO_THE_CPU)
def test_the_cpu_decodes_what_no_standard_fixes(name, make, fake_gpu):
    assert count_from_gpu(make(name), TIMES) == 0
    assert fake_gpu.num_opened == 0


def test_a_turned_video_is_upright(make, fake_gpu, tmp_path):
    path = tmp_path / "turned.mp4"
    source = str(make("b_frames.mp4"))
    run_ffmpeg("-display_rotation", "90", "-i", source, "-c", "copy", str(path))
    with ClipReader(path, decoder="cuda") as reader:
        (frame,) = reader.iter_frames([0.5])
    assert frame.is_from_gpu and (frame.height, frame.width) == (160, 96)
    assert read_all(path, TIMES, "cuda") == read_all(path, TIMES, "cpu")


@pytest.mark.parametrize("fails_after", [0, 9])
def test_the_cpu_goes_on_where_the_gpu_fails(fails_after, make, fake_gpu, monkeypatch):
    # By the quick way: nothing is decoded from the beginning of the file.
    monkeypatch.setattr(SequentialReader, "iter_frames", None)
    path = make("b_frames.mp4")
    fake_gpu.fails_after = fails_after
    with ClipReader(path, decoder="cuda") as reader:
        found = list(reader.iter_frames(TIMES))
    with ClipReader(path) as reader:
        expected = list(reader.iter_frames(TIMES))
    assert [f.time_seconds for f in found] == [f.time_seconds for f in expected]
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(found, expected, strict=True))
    assert sum(frame.is_from_gpu for frame in found) == (0 if fails_after == 0 else 1)


def test_the_cpu_decodes_where_the_gpus_pictures_have_another_size(make, fake_gpu):
    fake_gpu.cuts_no_left_side = True
    path = make("b_frames.mp4")
    assert read_all(path, TIMES, "cuda") == read_all(path, TIMES, "cpu")
    assert count_from_gpu(path, TIMES) == 0


def test_damage_that_ffmpeg_reports_has_the_same_reason_and_words(tmp_path, fake_gpu):
    path = make_damaged_clip(tmp_path / "damaged.flv", spared_seconds=[2.0])
    times = [0.0, 0.25, 0.75, 2.0, 3.0]
    found = read_all(path, times, "cuda")
    assert found == read_all(path, times, "cpu")
    assert [len(one) == 3 or one[0] for one in found] == [True, True, *["corrupt"] * 3]


def test_a_file_that_is_cut_off_has_the_same_reasons(tmp_path, fake_gpu):
    options = (*H264, "-g", "10", "-movflags", "+faststart")
    path = make_clip(tmp_path / "cut.mp4", *options, size="160x96", seconds=2)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = read_all(path, TIMES, "cuda")
    assert found == read_all(path, TIMES, "cpu")
    assert {one[0] for one in found if len(one) == 2} == {"corrupt"}


def test_a_gpu_that_is_full_is_no_fault_of_the_clip(make, monkeypatch):
    path = make("b_frames.mp4")
    original = MediaFile.open_again

    def open_again(self, *, accelerator=None):
        if accelerator is not None:
            raise av.error.ExternalError(0, "out of memory")
        return original(self)

    monkeypatch.setattr(MediaFile, "open_again", open_again)
    with ClipReader(path, decoder="cuda") as reader:
        with pytest.raises(OSError, match=r"the GPU cannot be used \(out of memory\)"):
            next(reader.iter_frames([0.5]))


def has_gpu():
    """Return whether a GPU decodes video here."""
    try:
        gpu.require_gpu()
    except ParameterError:
        return False
    return True


def test_a_machine_without_a_gpu_is_refused():
    if has_gpu():
        pytest.skip("has a GPU")
    with pytest.raises(ParameterError, match=r"decoder is cuda, but .* has no NVIDIA GPU that"):
        gpu.require_gpu()


def test_a_gpu_with_other_pictures_is_refused(monkeypatch):
    clip, decode = gpu._make_clip(), gpu._decode
    assert len(decode(clip, None)) == 12
    monkeypatch.setattr(gpu, "_decode", lambda clip, accelerator: decode(clip, None))
    gpu.require_gpu.cache_clear()
    gpu.require_gpu()

    gpu.require_gpu.cache_clear()
    pictures = iter([[np.zeros((2, 2, 3), np.uint8)], [np.ones((2, 2, 3), np.uint8)]])
    monkeypatch.setattr(gpu, "_decode", lambda clip, accelerator: next(pictures))
    with pytest.raises(ParameterError, match="to other pictures than the CPU"):
        gpu.require_gpu()


def test_a_file_in_the_gpus_format_is_read_as_ever(tmp_path, fake_gpu):
    path = make_clip(tmp_path / "raw.avi", "-c:v", "rawvideo", "-pix_fmt", "nv12", seconds=1)
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for decoder in ("cpu", "cuda"):
        with ClipReader(path, decoder=decoder) as reader:
            (frame,) = reader.iter_frames([0.0])
        assert not frame.is_from_gpu and np.array_equal(frame.rgb, pictures[0])


@pytest.mark.gpu
@pytest.mark.parametrize("name", MAKES)
def test_a_real_gpu_gives_the_cpus_bits(name, make):
    if not has_gpu():
        pytest.skip("needs a GPU that decodes video")
    path = make(name)
    assert read_all(path, TIMES, "cuda") == read_all(path, TIMES, "cpu")
    assert count_from_gpu(path, TIMES) == len(TIMES)
