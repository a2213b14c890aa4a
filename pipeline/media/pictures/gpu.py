"""Decode video with an NVIDIA GPU (NVDEC), through FFmpeg's libraries in PyAV.

Only streams are decoded there whose pictures a standard fixes bit for bit. The CPU decodes all
others, and whatever the GPU refuses. The GPU reports no damage within a picture: such a picture
comes out as it is (docs/features.md).
"""

import functools
import io
import platform
from fractions import Fraction
from typing import Literal

import av
import av.logging
import numpy as np
from av.codec.hwaccel import HWAccel
from av.video.reformatter import VideoReformatter

from earshot.errors import ParameterError

Decoder = Literal["cpu", "cuda"]  # what decodes pictures

# Of MPEG-1, 2 and 4 the standards leave roundings open.
_CODECS = frozenset({"h264", "hevc", "vp8", "vp9"})
_STREAM_FORMATS = frozenset({"yuv420p", "yuv420p10le"})
# What the GPU gives, and the format of the CPU's decoders with the same values in another order.
_PLANAR_FORMATS = {"nv12": "yuv420p", "p010le": "yuv420p10le"}

# Of the clip that is decoded to see whether the GPU gives the CPU's pictures.
_NUM_CHECKED = 12
_CHECKED_SIZE = (192, 320)


def can_decode(stream: av.VideoStream) -> bool:
    """Return whether the GPU may decode a stream, by its header.

    Args:
        stream: Of a file that was opened for the CPU.
    """
    context = stream.codec_context
    return context.name in _CODECS and context.pix_fmt in _STREAM_FORMATS


def is_convertible(frame: av.VideoFrame) -> bool:
    """Return whether ``make_planar`` knows the format of a frame that the GPU has decoded."""
    return frame.format.name in _PLANAR_FORMATS


def make_planar(frame: av.VideoFrame, reformatter: VideoReformatter) -> av.VideoFrame:
    """Return a frame of the GPU in the format of the CPU's decoders, with the same values.

    FFmpeg would convert the GPU's format to RGB, too, but with another filter for the colours.
    """
    planar = _PLANAR_FORMATS[frame.format.name]
    return reformatter.reformat(frame, format=planar, threads=1)


def make_accelerator() -> HWAccel:
    """Return what opens a container for the GPU; this machine may have none."""
    # All openings of a process share one CUDA context, which is PyTorch's as well.
    return HWAccel("cuda", allow_software_fallback=False, options={"primary_ctx": "1"})


@functools.cache
def require_gpu() -> None:
    """Check that the GPU of this machine decodes video, and gives the CPU's pictures.

    It decodes a clip of a dozen pictures, once in each process. It starts CUDA, so this process
    must not fork afterwards.

    Raises:
        ParameterError: There is no such GPU, or its pictures are others.
    """
    clip, host = _make_clip(), platform.node()
    # FFmpeg's errors are numbers that say nothing. Its log says what is absent.
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    with av.logging.Capture() as log:
        try:
            found = _decode(clip, make_accelerator())
        except (av.FFmpegError, RuntimeError) as error:
            words = "; ".join(text.strip() for _, _, text in log) or str(error)
            raise ParameterError(
                f"decoder is cuda, but {host} has no NVIDIA GPU that decodes video ({words}); "
                "expected one, or decoder: cpu"
            ) from None
        finally:
            av.logging.set_level(level)

    expected = _decode(clip, None)
    if not (len(found) == len(expected) and all(map(np.array_equal, found, expected))):
        raise ParameterError(
            f"decoder is cuda, but the GPU of {host} decodes H.264 to other pictures than the "
            "CPU; expected the same, bit for bit; set decoder: cpu"
        )


def _make_clip() -> bytes:
    """Encode a moving pattern with noise as H.264 with B pictures."""
    height, width = _CHECKED_SIZE
    noise = np.random.default_rng(0).integers(0, 256, (height, 2 * width, 3), np.uint8)
    noise[:, width:] //= 4

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(_NUM_CHECKED):
            picture = np.ascontiguousarray(noise[:, 8 * number : 8 * number + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _decode(clip: bytes, accelerator: HWAccel | None) -> list[np.ndarray]:
    pictures, reformatter = [], VideoReformatter()
    with av.open(io.BytesIO(clip), "r", hwaccel=accelerator) as container:
        for frame in container.decode(video=0):
            if accelerator is not None:
                if not is_convertible(frame):
                    raise RuntimeError(f"it gives pictures in the format {frame.format.name}")
                frame = make_planar(frame, reformatter)
            pictures.append(reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray())
    return pictures
