"""Check that a media file is what was wanted: its streams, its duration, and that it decodes.

A download that "succeeded" may be half a file, a page of HTML or a slide show. So every file is
opened and decoded before it is published: all of it up to a minute; of a longer one three windows,
at the beginning, in the middle and at the end. Files that are valid but of little use get the flags
``silent``, ``still`` and, where sound is not needed, ``no_audio``; Matroska and WebM files of which
only the first recording is read get ``more_recordings``.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import numpy as np
from av import AudioStream, VideoStream
from av.audio.frame import format_dtypes
from av.container import InputContainer

from earshot.errors import MediaError
from pipeline.media.files.container import iter_packets, open_container
from pipeline.media.files.cropping import read_cropping
from pipeline.media.files.timeline import (
    LATE_STREAM,
    choose_stream,
    find_duration,
    find_origin,
    read_announced_duration,
)
from pipeline.media.files.truncation import has_cut_off_packets, has_more_recordings, is_cut_off

_WHOLE_SECONDS = 60.0  # longer files are decoded in windows
_WINDOW_SECONDS = 5.0  # of each of the three windows
_STILL_INTERVAL_SECONDS = 0.25  # between the pictures that are compared for `still`
_STILL_SIZE = (64, 36)  # width and height to which they shrink
_MOVING_DIFFERENCE = 60.0  # grey levels: certainly not still
_MAX_BROKEN_FRACTION = 0.2  # of packets that do not decode
# At least this fraction of the duration that headers announce must be there, but for the slack,
# also where no part of the container is cut off.
_TRUNCATED_FRACTION = 0.9
_TRUNCATED_SLACK_SECONDS = 0.5
_READ_ERRORS = (av.error.FFmpegError, OSError, ValueError, MemoryError)


@dataclass(frozen=True)
class ValidationParameters:
    """Section ``download.validation`` of params.yaml."""

    # A whole video that is shorter is refused as too_short.
    min_seconds: float = 1.0
    # A section of a video may be shorter than asked for by this.
    duration_tolerance_seconds: float = 0.5
    # A clip whose loudest sample stays below this level gets the flag `silent`.
    silence_dbfs: float = -60.0
    # A clip gets the flag `still` when no cell of a 64x36 grid ever differs from the first picture
    # by more grey levels (of 255). Pictures are compared every quarter of a second.
    still_difference: float = 6.0

    def __post_init__(self) -> None:
        if not self.min_seconds >= 0:
            raise ValueError(f"min_seconds is {self.min_seconds}, expected 0 or more")
        if not self.duration_tolerance_seconds >= 0:
            raise ValueError(
                f"duration_tolerance_seconds is {self.duration_tolerance_seconds}, "
                "expected 0 or more"
            )


@dataclass(frozen=True)
class ClipFacts:
    """What the downloads table records about a clip's file."""

    duration_seconds: float
    width: int  # of the upright picture, in pixels
    height: int
    fps: float | None
    video_codec: str
    audio_codec: str | None  # None: no sound
    sample_rate: int | None  # Hz
    flags: tuple[str, ...]  # `silent`, `still`, `more_recordings`, `no_audio`

    def as_mapping(self) -> dict:
        """Return the facts as plain values, for JSON."""
        return dataclasses.asdict(self) | {"flags": list(self.flags)}


@dataclass(frozen=True)
class SourceFacts:
    """What decides whether and how a file must be cut."""

    container: str  # FFmpeg's name of the format
    duration_seconds: float | None  # None: unknown
    short_side: int  # of the picture, in pixels; 0 without video
    video_index: int | None  # of the stream in the file; None: no such stream
    audio_index: int | None


def validate_clip(
    path: Path | str,
    *,
    wanted_seconds: float | None,
    parameters: ValidationParameters,
    needs_sound: bool = True,
) -> ClipFacts:
    """Check a whole file and return what is in it.

    Args:
        path: The file.
        wanted_seconds: The length of the section that was asked for; None for a whole video.
        parameters: What counts as too short, silent and still.
        needs_sound: Whether a file without sound is refused. Otherwise it gets the flag
            ``no_audio``.

    Returns:
        Its duration, size, codecs and flags, as the downloads table records them.

    Raises:
        MediaError: ``corrupt``, ``no_video``, ``no_audio`` or ``too_short``. The message does not
            name the file.
    """
    try:
        with open_container(path) as container:
            return _validate(container, wanted_seconds, parameters, needs_sound=needs_sound)
    except IndexError:
        raise MediaError("corrupt", LATE_STREAM) from None
    except _READ_ERRORS as error:
        raise MediaError("corrupt", f"cannot be read as media: {_describe(error)}") from None


def read_source_facts(path: Path | str) -> SourceFacts:
    """Return what decides how a file must be cut, without decoding it.

    Raises:
        MediaError: ``corrupt``.
    """
    try:
        with open_container(path) as container:
            video, audio = choose_stream(container, "video"), choose_stream(container, "audio")
            size = (video.codec_context.width, video.codec_context.height) if video else (0, 0)
            return SourceFacts(
                container=container.format.name,
                duration_seconds=find_duration(container) or None,
                short_side=min(size),
                video_index=video.index if video else None,
                audio_index=audio.index if audio else None,
            )
    except _READ_ERRORS as error:
        raise MediaError("corrupt", f"cannot be read as media: {_describe(error)}") from None


@dataclass
class _Decoded:
    """What decoding a stream has shown so far. Seconds are on the clip's timeline."""

    num_packets: int = 0
    num_broken: int = 0
    num_frames: int = 0
    last_seconds: float = -math.inf  # end of the last packet
    # Sound
    peak: float = 0.0  # of full scale
    # Pictures
    picture: np.ndarray | None = None  # the first one, small and grey
    picture_seconds: float = -math.inf  # of the last one that was compared with the first
    difference: float = 0.0  # the largest one, in grey levels
    rotation: int | None = None  # degrees


def _validate(
    container: InputContainer,
    wanted_seconds: float | None,
    parameters: ValidationParameters,
    *,
    needs_sound: bool,
) -> ClipFacts:
    _require_video_format(container)
    video, audio = choose_stream(container, "video"), choose_stream(container, "audio")
    if video is None:
        raise MediaError("no_video", "has no video stream")

    # Another opening tells how long the clip is: that may move the container.
    with open_container(container.name) as other:
        duration_seconds = find_duration(other)
    decoded, has_seen_end = _decode(container, video, audio, duration_seconds)

    # Damage counts first: of a damaged file the other reasons may be consequences.
    pictures = decoded[video.index]
    _require_decodable(pictures, "video")
    _require_whole(container, list(decoded.values()), video, has_seen_end=has_seen_end)

    sound = None if audio is None else decoded[audio.index]
    if sound is not None and sound.num_packets == 0 and sound.num_frames == 0:
        if needs_sound:
            raise MediaError("no_audio", "has an audio stream without any packet")
        sound = None
    if sound is not None:
        _require_decodable(sound, "audio")
    elif needs_sound:
        raise MediaError("no_audio", "has no audio stream")

    _require_duration(duration_seconds, wanted_seconds, parameters)

    # Phones store upright pictures lying on their side.
    height, width = read_cropping(container, video).find_size(
        video.codec_context.height, video.codec_context.width
    )
    if (pictures.rotation or 0) % 180:
        width, height = height, width
    return ClipFacts(
        duration_seconds=round(duration_seconds, 6),
        width=width,
        height=height,
        fps=round(float(video.average_rate), 6) if video.average_rate else None,
        video_codec=video.codec_context.name,
        audio_codec=audio.codec_context.name if audio and sound else None,
        sample_rate=audio.codec_context.sample_rate if audio and sound else None,
        flags=_find_flags(container, pictures, sound, parameters),
    )


def _require_video_format(container: InputContainer) -> None:
    """Refuse pictures and text, which FFmpeg reads as videos of one frame."""
    name = container.format.name
    if name in ("tty", "image2") or name.endswith("_pipe"):
        raise MediaError("no_video", f"is not a video but {container.format.long_name or name}")


def _require_decodable(stream: _Decoded, kind: str) -> None:
    if stream.num_frames == 0:
        raise MediaError("corrupt", f"has a {kind} stream, but nothing of it can be decoded")
    if stream.num_broken > _MAX_BROKEN_FRACTION * max(stream.num_packets, 1):
        raise MediaError(
            "corrupt",
            f"{stream.num_broken} of {stream.num_packets} {kind} packets cannot be decoded",
        )


def _require_whole(
    container: InputContainer, streams: list[_Decoded], video: VideoStream, *, has_seen_end: bool
) -> None:
    """Refuse a part of a file with the header of a whole one."""
    last_seconds = max(stream.last_seconds for stream in streams)
    if is_cut_off(container) or has_cut_off_packets(container):
        ends = f" after {last_seconds:.2f} s" if has_seen_end else ""
        raise MediaError("corrupt", f"is cut off{ends}: its container says that it is longer")

    # A header alone may err; what lacks much is half a file.
    announced_seconds = read_announced_duration(container, video)
    if not has_seen_end or announced_seconds is None:
        return
    if last_seconds < _TRUNCATED_FRACTION * announced_seconds - _TRUNCATED_SLACK_SECONDS:
        raise MediaError(
            "corrupt",
            f"ends after {last_seconds:.2f} s, its header announces {announced_seconds:.2f} s",
        )


def _require_duration(
    duration_seconds: float, wanted_seconds: float | None, parameters: ValidationParameters
) -> None:
    expected_seconds = parameters.min_seconds
    if wanted_seconds is not None:
        tolerance_seconds = parameters.duration_tolerance_seconds
        expected_seconds = min(max(wanted_seconds - tolerance_seconds, 0.0), wanted_seconds)
    if duration_seconds < expected_seconds:
        raise MediaError(
            "too_short",
            f"lasts {duration_seconds:.2f} s, expected {expected_seconds:.2f} s or more",
        )


def _find_flags(
    container: InputContainer,
    pictures: _Decoded,
    sound: _Decoded | None,
    parameters: ValidationParameters,
) -> tuple[str, ...]:
    flags = []
    if has_more_recordings(container):
        flags.append("more_recordings")
    if sound is None:
        flags.append("no_audio")
    elif sound.peak < 10 ** (parameters.silence_dbfs / 20):
        flags.append("silent")
    if pictures.difference <= parameters.still_difference:
        flags.append("still")
    return tuple(flags)


def _decode(
    container: InputContainer,
    video: VideoStream,
    audio: AudioStream | None,
    duration_seconds: float,
) -> tuple[dict[int, _Decoded], bool]:
    """Decode a file, or windows of it.

    Returns what each stream holds, by its index, and whether the file's end was seen.
    """
    streams = [stream for stream in (video, audio) if stream is not None]
    decoded = {stream.index: _Decoded() for stream in streams}
    if duration_seconds <= _WHOLE_SECONDS:
        _decode_window(container, streams, decoded, stop_seconds=None)
        return decoded, True

    origin_seconds = find_origin(container)
    last_start_seconds = duration_seconds - _WINDOW_SECONDS
    for start_seconds in (0.0, last_start_seconds / 2, last_start_seconds):
        if start_seconds > 0:
            try:
                container.seek(round((origin_seconds + start_seconds) * av.time_base))
            except av.error.FFmpegError:
                return decoded, False  # not every container can seek; its beginning is whole

        is_last = start_seconds == last_start_seconds
        # The first picture of each window is compared, whatever time it has.
        for stream in decoded.values():
            stream.picture_seconds = -math.inf
        _decode_window(
            container,
            streams,
            decoded,
            stop_seconds=None if is_last else start_seconds + _WINDOW_SECONDS,
        )
    return decoded, True


def _decode_window(
    container: InputContainer,
    streams: list[VideoStream | AudioStream],
    decoded: dict[int, _Decoded],
    *,
    stop_seconds: float | None,
) -> None:
    """Decode from the container's position to a time on the clip's timeline.

    None: to the end. Of that, a minute is decoded and the packets of the rest are only looked at.
    """
    origin_seconds = find_origin(container)
    num_seconds = 0.0  # read so far
    first_seconds = None

    for packet in iter_packets(container, *streams):
        stream = decoded[packet.stream.index]
        if packet.pts is not None and packet.time_base:
            seconds = float(packet.pts * packet.time_base) - origin_seconds
            first_seconds = seconds if first_seconds is None else first_seconds
            num_seconds = max(num_seconds, seconds - first_seconds)
            end_seconds = seconds + float((packet.duration or 0) * packet.time_base)
            stream.last_seconds = max(stream.last_seconds, end_seconds)
            if stop_seconds is not None and seconds > stop_seconds:
                break

        # A header can announce a minute where there are hours.
        if stop_seconds is None and num_seconds > _WHOLE_SECONDS:
            continue
        _decode_packet(packet, stream)


def _decode_packet(packet: av.Packet, stream: _Decoded) -> None:
    if packet.size:
        stream.num_packets += 1
    try:
        frames = packet.decode()
    except av.error.FFmpegError:
        stream.num_broken += 1
        return

    for frame in frames:
        stream.num_frames += 1
        if isinstance(frame, av.VideoFrame):
            _compare_picture(frame, stream)
        elif isinstance(frame, av.AudioFrame):
            stream.peak = max(stream.peak, _find_peak(frame))


def _compare_picture(frame: av.VideoFrame, stream: _Decoded) -> None:
    """Compare a picture with the first one, so that a slow drift adds up."""
    if stream.rotation is None:
        stream.rotation = frame.rotation

    seconds = frame.time
    if seconds is not None:
        if seconds - stream.picture_seconds < _STILL_INTERVAL_SECONDS:
            return
        stream.picture_seconds = seconds
    if stream.difference > _MOVING_DIFFERENCE:
        return  # it moves; there is nothing more to find out

    width, height = _STILL_SIZE
    picture = frame.reformat(width, height, format="gray").to_ndarray().astype(np.float32)
    if stream.picture is None:
        stream.picture = picture
    stream.difference = max(stream.difference, float(np.abs(picture - stream.picture).max()))


def _find_peak(frame: av.AudioFrame) -> float:
    """Return the largest absolute sample of any channel, as a fraction of full scale."""
    # Of eight and more channels PyAV names planes that lie elsewhere in memory, and its
    # `to_ndarray` reads them.
    num_channels, is_planar = frame.layout.nb_channels, frame.format.is_planar
    dtype = np.dtype(format_dtypes[frame.format.name])
    count = frame.samples * (1 if is_planar else num_channels)
    planes = frame.planes[: num_channels if is_planar else 1]
    return max((_find_plane_peak(plane, dtype, count) for plane in planes), default=0.0)


def _find_plane_peak(plane: av.plane.Plane, dtype: np.dtype, count: int) -> float:
    # PyAV's stubs do not say that a plane is a buffer.
    samples = np.frombuffer(plane, dtype, count)  # type: ignore[call-overload]
    if samples.size == 0:
        return 0.0
    if dtype.kind == "f":
        return float(np.nan_to_num(np.abs(samples), nan=0.0).max())

    # Integer samples; those of eight bits have their zero at 128.
    full_scale = float(1 << (8 * dtype.itemsize - 1))
    middle = full_scale if dtype == np.uint8 else 0.0
    return float(np.abs(samples.astype(np.float64) - middle).max()) / full_scale


def _describe(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
