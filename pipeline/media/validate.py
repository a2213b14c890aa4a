"""Check that a media file is what was wanted: its streams, its duration, and that it decodes.

A download that "succeeded" may be half a file, a page of HTML or a slide show. So every file is
opened and read before it is published (``content``): its packets, its sound and its keyframes, and
every picture where that leaves a doubt. A file is refused only after every picture was tried. Files
that are valid but of little use get the flags ``silent``, ``still`` and, where sound is not needed,
``no_audio``; Matroska, MP4 and FLV files of which only the first recording is read get
``more_recordings``.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av.error
from av import VideoStream
from av.container import InputContainer

from earshot.errors import MediaError
from pipeline.media.content import Enough, StreamContent, read_content
from pipeline.media.files.container import has_index, open_container
from pipeline.media.files.cropping import read_cropping
from pipeline.media.files.timeline import (
    LATE_STREAM,
    choose_stream,
    find_duration,
    read_announced_duration,
)
from pipeline.media.files.truncation import has_cut_off_packets, has_more_recordings, is_cut_off

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
    # Which pictures of a clip are decoded. needed: the first ones until something moves, then one
    # every two seconds; all of them where there is a doubt. all: every one, which takes ten times
    # as long.
    decode: Literal["needed", "all"] = "needed"

    def __post_init__(self) -> None:
        if not self.min_seconds >= 0:
            raise ValueError(f"min_seconds is {self.min_seconds}, expected 0 or more")
        if not self.duration_tolerance_seconds >= 0:
            raise ValueError(
                f"duration_tolerance_seconds is {self.duration_tolerance_seconds}, "
                "expected 0 or more"
            )
        # Outside of these, every clip would be flagged, or none.
        if not -200 <= self.silence_dbfs < 0:
            raise ValueError(f"silence_dbfs is {self.silence_dbfs}, expected -200 to below 0")
        if not 0 <= self.still_difference <= 254:
            raise ValueError(f"still_difference is {self.still_difference}, expected 0 to 254")

    @property
    def silence_level(self) -> float:
        """The level of ``silence_dbfs``, as a fraction of full scale."""
        return 10 ** (self.silence_dbfs / 20)


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
    opened: InputContainer | None = None,
) -> ClipFacts:
    """Check a whole file and return what is in it.

    Args:
        path: The file.
        wanted_seconds: The length of the section that was asked for; None for a whole video.
        parameters: What counts as too short, silent and still.
        needs_sound: Whether a file without sound is refused. Otherwise it gets the flag
            ``no_audio``.
        opened: The file, of which no packet was read yet; it saves another opening.

    Returns:
        Its duration, size, codecs and flags, as the downloads table records them.

    Raises:
        MediaError: ``corrupt``, ``no_video``, ``no_audio`` or ``too_short``. The message does not
            name the file.
    """
    if parameters.decode == "needed":
        enough = Enough(parameters.still_difference, parameters.silence_level)
        opening = open_source(path) if opened is None else contextlib.nullcontext(opened)
        try:
            with opening as container:
                facts = _validate(container, wanted_seconds, parameters, needs_sound, enough)
        except (MediaError, IndexError, *_READ_ERRORS):
            facts = None
        # Quick, but not sure where a file is damaged; the second reading decides then.
        if facts is not None:
            return facts

    with open_source(path) as container:
        facts = _validate(container, wanted_seconds, parameters, needs_sound, None)
    assert facts is not None
    return facts


@contextlib.contextmanager
def open_source(path: Path | str) -> Iterator[InputContainer]:
    """Open a file that is checked. Where it cannot be read in the block, it is ``corrupt``.

    Raises:
        MediaError: The decoder's error is its context. The message does not name the file.
    """
    try:
        with open_container(path) as container:
            yield container
    except IndexError:
        raise MediaError("corrupt", LATE_STREAM) from None
    except _READ_ERRORS as error:
        # FFmpeg says only "Invalid data". Downloads that fail often leave an empty file.
        is_empty = Path(path).is_file() and Path(path).stat().st_size == 0
        what = "is empty" if is_empty else f"cannot be read as media: {_describe(error)}"
        raise MediaError("corrupt", what) from None


def read_source_facts(container: InputContainer) -> SourceFacts:
    """Return what decides how a file must be cut, without decoding it.

    Args:
        container: The file, opened anew. Packets are read of files without an index (see
            ``has_index``).
    """
    video, audio = choose_stream(container, "video"), choose_stream(container, "audio")
    size = (video.codec_context.width, video.codec_context.height) if video else (0, 0)
    return SourceFacts(
        container=container.format.name,
        duration_seconds=find_duration(container) or None,
        short_side=min(size),
        video_index=video.index if video else None,
        audio_index=audio.index if audio else None,
    )


def _validate(
    container: InputContainer,
    wanted_seconds: float | None,
    parameters: ValidationParameters,
    needs_sound: bool,
    enough: Enough | None,
) -> ClipFacts | None:
    """Read a file and judge it; return what is in it, or None if only every picture can tell."""
    _require_video_format(container)
    video, audio = choose_stream(container, "video"), choose_stream(container, "audio")
    if video is None:
        raise MediaError("no_video", "has no video stream")

    # Where that moves the container, another opening tells how long the clip is.
    if has_index(container):
        duration_seconds = find_duration(container)
    else:
        with open_container(container.name) as other:
            duration_seconds = find_duration(other)

    contents, has_seen_end = read_content(container, video, audio, duration_seconds, enough=enough)
    if enough is not None and any(content.is_doubtful for content in contents.values()):
        return None

    # Damage counts first: of a damaged file the other reasons may be consequences.
    pictures = contents[video.index]
    _require_decodable(pictures, "video")
    _require_whole(container, list(contents.values()), video, has_seen_end=has_seen_end)

    sound = None if audio is None else contents[audio.index]
    if sound is not None and sound.num_packets == 0 and sound.num_frames == 0:
        # A header may announce a sound track that has no packet.
        if needs_sound:
            raise MediaError("no_audio", "has an audio stream without any packet")
        sound = None
    if sound is not None:
        _require_decodable(sound, "audio")
    elif needs_sound:
        raise MediaError("no_audio", "has no audio stream")

    _require_duration(duration_seconds, wanted_seconds, parameters)

    # Pictures and sound can change on the way, so their beginning counts.
    assert pictures.size is not None
    height, width = read_cropping(container, video).find_size(*pictures.size)
    # Phones store upright pictures lying on their side.
    if pictures.is_transposed:
        width, height = height, width

    return ClipFacts(
        # Microseconds are enough for every time base, and give the same text on all machines.
        duration_seconds=round(duration_seconds, 6),
        width=width,
        height=height,
        fps=round(float(video.average_rate), 6) if video.average_rate else None,
        video_codec=video.codec_context.name,
        audio_codec=audio.codec_context.name if audio and sound else None,
        sample_rate=sound.sample_rate if sound else None,
        flags=_find_flags(container, pictures, sound, parameters),
    )


def _require_video_format(container: InputContainer) -> None:
    """Refuse pictures and text, which FFmpeg reads as videos of one frame."""
    name = container.format.name

    if name in ("tty", "image2") or name.endswith("_pipe"):
        raise MediaError("no_video", f"is not a video but {container.format.long_name or name}")


def _require_decodable(stream: StreamContent, kind: str) -> None:
    if stream.num_frames == 0:
        raise MediaError("corrupt", f"has a {kind} stream, but nothing of it can be decoded")

    if stream.num_broken > _MAX_BROKEN_FRACTION * max(stream.num_packets, 1):
        raise MediaError(
            "corrupt",
            f"{stream.num_broken} of {stream.num_packets} {kind} packets cannot be decoded",
        )


def _require_whole(
    container: InputContainer,
    streams: list[StreamContent],
    video: VideoStream,
    *,
    has_seen_end: bool,
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
        # Sections end at a frame or a packet of sound, so they are a little shorter or longer.
        expected_seconds = min(max(wanted_seconds - tolerance_seconds, 0.0), wanted_seconds)

    if duration_seconds < expected_seconds:
        raise MediaError(
            "too_short",
            f"lasts {duration_seconds:.2f} s, expected {expected_seconds:.2f} s or more",
        )


def _find_flags(
    container: InputContainer,
    pictures: StreamContent,
    sound: StreamContent | None,
    parameters: ValidationParameters,
) -> tuple[str, ...]:
    flags = []
    if has_more_recordings(container):
        flags.append("more_recordings")
    if sound is None:
        flags.append("no_audio")
    elif sound.peak < parameters.silence_level:
        flags.append("silent")
    if pictures.difference <= parameters.still_difference:
        flags.append("still")
    return tuple(flags)


def _describe(error: BaseException) -> str:
    # Some errors of PyAV have no text.
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
