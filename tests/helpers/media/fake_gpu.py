"""A made-up GPU: the CPU decodes, and its pictures come in the GPU's format."""

from typing import Any

import av
from av.video.reformatter import VideoReformatter

from pipeline.media.files.media_file import MediaFile
from pipeline.media.pictures import frame_reader

GPU_FORMATS = {"yuv420p": "nv12", "yuv420p10le": "p010le"}


class _Proxy:
    """An object of PyAV, whose methods nobody can replace."""

    def __init__(self, target: Any):
        object.__setattr__(self, "target", target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.target, name, value)


class _Container(_Proxy):
    def demux(self, *streams: _Proxy) -> Any:
        return self.target.demux(*(stream.target for stream in streams))

    def seek(self, offset: int, *, stream: _Proxy, backward: bool) -> None:
        self.target.seek(offset, stream=stream.target, backward=backward)


class _Context(_Proxy):
    def __init__(self, target: Any, gpu: "FakeGpu"):
        super().__init__(target)
        object.__setattr__(self, "gpu", gpu)

    def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        frames = self.target.decode(packet)
        self.gpu.num_decoded += len(frames)
        if self.gpu.fails_after is not None and self.gpu.num_decoded > self.gpu.fails_after:
            raise av.error.ExternalError(0, "a GPU that fails")
        return [self.gpu.convert(frame) for frame in frames]


class _Stream(_Proxy):
    def __init__(self, target: Any, gpu: "FakeGpu"):
        super().__init__(target)
        object.__setattr__(self, "codec_context", _Context(target.codec_context, gpu))


class FakeGpu:
    """What it has decoded, and how it fails."""

    def __init__(self) -> None:
        self.num_opened = 0
        self.num_decoded = 0
        self.fails_after: int | None = None  # so many pictures
        self.cuts_no_left_side = False  # of a picture with cropping, as FFmpeg

    def convert(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return a frame in the format of a GPU."""
        format_name = GPU_FORMATS[frame.format.name]
        width = frame.width + (16 if self.cuts_no_left_side else 0)
        return VideoReformatter().reformat(frame, width=width, format=format_name, threads=1)


def install_fake_gpu(monkeypatch: Any) -> FakeGpu:
    """Let all readers with ``decoder="cuda"`` use it, until the test ends."""
    gpu = FakeGpu()
    original = MediaFile.open_again

    def open_again(self: MediaFile, *, accelerator: Any = None) -> Any:
        opening = original(self)
        if accelerator is gpu:
            gpu.num_opened += 1
            opening.video = _Stream(opening.video, gpu)  # type: ignore[assignment]
            opening.container = _Container(opening.container)  # type: ignore[assignment]
        return opening

    monkeypatch.setattr(frame_reader, "make_accelerator", lambda: gpu)
    monkeypatch.setattr(MediaFile, "open_again", open_again)
    return gpu
