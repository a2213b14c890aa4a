"""Localize a user's own video: a copy with its sound, the maps, one error for each bad video."""

import json
import subprocess

import av
import numpy as np
import pytest

from pipeline.media.files.ffmpeg import find_ffmpeg
from train.localize import main
from train.models.registry import build_parameters, make_model
from train.runs.run_folder import write_model

SMALL = {"width": 8, "image_size": 64, "init": "random", "spectrogram_pooling": 4, "map_stride": 16}


def make_video(path, *, seconds=1.5, sound=("-c:a", "aac"), picture=("-c:v", "libx264")):
    """A test card of odd size with a tone; ``sound`` None: none."""
    inputs = ["-f", "lavfi", "-i", f"testsrc=size=99x75:rate=10:duration={seconds}"]
    outputs = [*picture, "-pix_fmt", "yuv444p", "-t", str(seconds)]
    if sound is not None:
        inputs += ["-f", "lavfi", "-i", f"sine=frequency=600:duration={seconds}"]
        outputs += sound
    subprocess.run(
        [str(find_ffmpeg()), "-v", "error", "-y", *inputs, *outputs, str(path)], check=True
    )


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    values = {"method": "htf", "freeze_vision": False, **SMALL}
    parameters = build_parameters(values, "test")
    write_model(
        folder,
        make_model(parameters),
        parameters,
        features={"flow": {"fps": 5.0, "short_side": 32}},
    )
    return folder


def localize(run_dir, output_dir, *videos, options=()):
    arguments = ["--model", run_dir, "--output", output_dir, "--quiet", *options, *videos]
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("name", "sound", "picture"),
    [
        ("12:30 b's.mkv", ("-c:a", "libvorbis"), ("-c:v", "libx264")),
        ("ö.mov", ("-c:a", "pcm_s16le"), ("-c:v", "mjpeg")),
    ],
)
def test_copy_has_picture_and_sound_and_maps_have_times(
    run_dir, tmp_path, monkeypatch, name, sound, picture
):
    video = tmp_path / name
    make_video(video, sound=sound, picture=picture)
    monkeypatch.chdir(tmp_path)
    assert localize(run_dir, "out", name) == 0
    stem = video.stem
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        f"{stem}.localized.mp4",
        f"{stem}.maps.npz",
    ]
    with np.load(tmp_path / "out" / f"{stem}.maps.npz") as content:
        assert content["maps"].shape == (6, 4, 4)
        assert np.isfinite(content["maps"]).all()
        np.testing.assert_allclose(content["times_seconds"], (np.arange(6) + 0.5) / 4, atol=0.01)
        assert str(content["method"]) == "htf"
    with av.open(str(tmp_path / "out" / f"{stem}.localized.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        frames = sum(1 for _ in container.decode(video=0))
        assert frames == 15
    with av.open(str(tmp_path / "out" / f"{stem}.localized.mp4")) as container:
        assert sum(
            frame.samples / frame.sample_rate for frame in container.decode(audio=0)
        ) == pytest.approx(1.5, abs=0.1)


def test_videos_that_cannot_be_localized_are_named_and_others_done(run_dir, tmp_path, capsys):
    make_video(tmp_path / "silent.mp4", sound=None)
    make_video(tmp_path / "good.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    names = ("silent.mp4", "broken.mp4", "absent.mp4", ".", "good.mp4")
    videos = [tmp_path / name for name in names]
    assert localize(run_dir, tmp_path / "out", *videos) == 2
    output = capsys.readouterr()
    assert "silent.mp4: has no audio" in output.err
    assert "broken.mp4" in output.err
    assert "absent.mp4" in output.err
    assert f"{tmp_path}: is a folder, expected a video; name its files: {tmp_path}/*" in output.err
    assert "Traceback" not in output.err
    assert "good.localized.mp4" in output.out
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_run_without_a_model_says_why(tmp_path, capsys):
    for reason, words in (
        ("7 samples are too few", "ended without a model: 7 samples are too few"),
        (None, "train it"),
    ):
        (tmp_path / "run.json").write_text(json.dumps({"status": "untrained", "reason": reason}))
        assert localize(tmp_path, tmp_path / "out", tmp_path / "a.mp4") == 2
        assert words in capsys.readouterr().err


def test_wrong_arguments(run_dir, tmp_path, capsys):
    assert localize(tmp_path, tmp_path / "out", tmp_path / "a.mp4") == 2
    assert "model.ckpt: not found; expected the folder of a run" in capsys.readouterr().err
    assert localize(run_dir, tmp_path / "out", tmp_path / "a.mp4", options=["--opacity", "3"]) == 2
    assert "opacity (3.0) must be in [0, 1]" in capsys.readouterr().err
    assert localize(run_dir, tmp_path / "out", tmp_path / "a.mp4", tmp_path / "b" / "a.avi") == 2
    assert "two of the videos would be written as a.localized.mp4" in capsys.readouterr().err


def test_a_real_clip_of_the_shared_folder(shared, run_dir, tmp_path):
    """Opus sound and no stream duration; the moving picture goes on to the end."""
    assert (
        localize(
            run_dir,
            tmp_path,
            shared("media", "no_duration.webm"),
            options=["--maps-per-second", "1"],
        )
        == 0
    )
    with np.load(tmp_path / "no_duration.maps.npz") as content:
        assert len(content["maps"]) == 5


@pytest.mark.parametrize(("num_channels", "codec"), [(8, "aac"), (12, "pcm_s16le")])
def test_sound_of_many_channels(run_dir, tmp_path, num_channels, codec):
    """Eight channels that lie apart; more than AAC has a name for."""
    layout = "7.1" if num_channels == 8 else f"{num_channels}c"
    channels = "|".join(f"c{number}=c0" for number in range(num_channels))
    make_video(tmp_path / "many.mkv", sound=("-af", f"pan={layout}|{channels}", "-c:a", codec))
    assert localize(run_dir, tmp_path / "out", tmp_path / "many.mkv") == 0
    with av.open(str(tmp_path / "out" / "many.localized.mp4")) as container:
        assert container.streams.audio[0].duration * container.streams.audio[
            0
        ].time_base == pytest.approx(1.5, abs=0.1)


def test_a_folder_that_cannot_be_written_is_one_sentence(run_dir, tmp_path, capsys):
    make_video(tmp_path / "good.mp4")
    (tmp_path / "file").write_text("")
    assert localize(run_dir, tmp_path / "file", tmp_path / "good.mp4") == 2
    error = capsys.readouterr().err
    assert "good.mp4: cannot be localized into" in error
    assert "Traceback" not in error
