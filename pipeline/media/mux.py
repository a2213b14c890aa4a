"""Join picture and sound from separate files into one media file, without loss.

Urbansas keeps picture and sound in two files. Users' folders hold clips as video and wav, or as one
still picture and wav. A clip of Earshot is one file. Streams are copied, never encoded again, and
the same inputs give the same bytes.

Each file counts from its own zero (see `timeline`), whatever its clock says. The picture at 3 s of
the one file and the sound at 3 s of the other are both at 3 s of the clip.
"""

import heapq
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av import AudioStream, VideoStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from earshot.errors import MediaError
from earshot.files import publish
from pipeline.media.files.container import iter_packets, open_container
from pipeline.media.files.media_file import Opening
from pipeline.media.files.timeline import choose_stream, find_origin
from pipeline.media.pictures.timestamps import ShownTimes, is_reordered_avi

VERSION = 2  # of what is written; raise it when joined files must be made again
SUFFIX = ".mkv"  # Matroska holds every codec that is copied here, PCM included
_STILL_FRAMES_PER_SECOND = 8


def mux(video_path: Path, audio_path: Path, target_path: Path) -> None:
    """Publish one file with the picture of one file and the sound of another.

    Args:
        video_path: Where the picture comes from.
        audio_path: Where the sound comes from.
        target_path: Where the clip is published.

    Raises:
        MediaError: ``no_video``, ``no_audio`` or ``corrupt``.
    """
    try:
        with open_container(video_path) as video, open_container(audio_path) as sound:
            # Refuse what has no streams before anything is written.
            picture, track = _require_video(video, video_path), _require_audio(sound, audio_path)

            with publish(target_path) as temporary_path, _open_output(temporary_path) as output:
                # Opaque: AV1 and Theora have decoders of a name that no encoder has.
                out_picture = output.add_stream_from_template(picture, opaque=True)
                out_track = output.add_stream_from_template(track)
                _write_interleaved(
                    output,
                    [
                        (_iter_pictures(video, picture), out_picture),
                        (_iter_packets(sound, track), out_track),
                    ],
                )
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError(
            "corrupt", f"{video_path} with {audio_path}: cannot be joined: {error}"
        ) from None


def mux_still(image_path: Path, audio_path: Path, target_path: Path) -> None:
    """Publish a clip that shows one JPEG or PNG for as long as a sound lasts.

    The JPEG's bytes are kept. A PNG, which this container cannot hold, becomes FFV1, which is
    lossless as well.

    Args:
        image_path: The picture.
        audio_path: Where the sound comes from.
        target_path: Where the clip is published.

    Raises:
        MediaError: ``no_video``, ``no_audio`` or ``corrupt``.
    """
    try:
        with open_container(image_path) as image, open_container(audio_path) as sound:
            picture = _require_video(image, image_path)
            if picture.codec_context.name not in ("mjpeg", "png"):
                raise MediaError(
                    "no_video",
                    f"{image_path}: is {picture.codec_context.name}, expected JPEG or PNG",
                )

            track = _require_audio(sound, audio_path)

            with publish(target_path) as temporary_path, _open_output(temporary_path) as output:
                # The order of the streams is part of the file's bytes: picture, then sound.
                out_picture, data = _add_still(output, image, picture, image_path)
                out_track = output.add_stream_from_template(track)
                pictures = _repeat(data, _find_seconds(sound, track))
                _write_interleaved(
                    output, [(pictures, out_picture), (_iter_packets(sound, track), out_track)]
                )
    except (av.error.FFmpegError, ValueError, StopIteration) as error:
        # StopIteration: the image has no picture that can be decoded.
        raise MediaError(
            "corrupt", f"{image_path} with {audio_path}: cannot be joined: {error}"
        ) from None


def _require_video(container: InputContainer, path: Path) -> VideoStream:
    stream = choose_stream(container, "video")
    if stream is None:
        raise MediaError("no_video", f"{path}: has no video stream")
    return stream


def _require_audio(container: InputContainer, path: Path) -> AudioStream:
    stream = choose_stream(container, "audio")
    if stream is None:
        raise MediaError("no_audio", f"{path}: has no audio stream")
    return stream


def _open_output(path: Path) -> OutputContainer:
    # bitexact: no random identifiers, dates or versions in the file.
    # avoid_negative_ts: priming stays before zero, so that nothing else moves to later times.
    options = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}
    return av.open(os.fspath(path), "w", format="matroska", options=options)


def _add_still(
    output: OutputContainer, image: InputContainer, picture: VideoStream, image_path: Path
) -> tuple[VideoStream, bytes]:
    """Add the stream of a still; returns it with the bytes of its picture."""
    is_jpeg = picture.codec_context.name == "mjpeg"
    stream = output.add_stream("mjpeg" if is_jpeg else "ffv1", rate=_STILL_FRAMES_PER_SECOND)
    assert isinstance(stream, VideoStream)
    stream.width = picture.codec_context.width
    stream.height = picture.codec_context.height
    stream.pix_fmt = picture.codec_context.pix_fmt if is_jpeg else "bgr0"
    if is_jpeg:
        return stream, Path(image_path).read_bytes()

    # A PNG becomes one picture of FFV1, whose packets are all the same.
    # FFV1 keeps RGB as it is (bgr0); a step to YUV would round the colours.
    frame = next(image.decode(picture)).reformat(format="bgr0")
    packets = [*stream.encode(frame), *stream.encode(None)]
    return stream, b"".join(bytes(packet) for packet in packets)


def _write_interleaved(
    output: OutputContainer, sources: Iterable[tuple[Iterator[av.Packet], Stream]]
) -> None:
    """Write the packets of several streams in the order of their decoding times."""
    timed = (_iter_timed(packets, stream) for packets, stream in sources)
    # Players read both streams at once. If one lay behind the other, they would have to seek.
    for _, packet in heapq.merge(*timed, key=lambda item: item[0]):
        output.mux(packet)


def _iter_timed(
    packets: Iterator[av.Packet], stream: Stream
) -> Iterator[tuple[Fraction, av.Packet]]:
    for packet in packets:
        time = packet.dts if packet.dts is not None else packet.pts
        seconds = Fraction(0) if time is None else time * packet.time_base

        packet.stream = stream
        yield seconds, packet


def _iter_packets(
    container: InputContainer, stream: VideoStream | AudioStream
) -> Iterator[av.Packet]:
    """Yield the packets of a stream with times that count from the file's zero."""
    assert stream.time_base is not None
    origin = round(Fraction(find_origin(container)) / stream.time_base)

    for packet in iter_packets(container, stream):
        # PyAV ends a stream with an empty packet. A packet without any time has no place.
        if not packet.size or (packet.dts is None and packet.pts is None):
            continue
        if packet.dts is not None:
            packet.dts -= origin
        if packet.pts is not None:
            packet.pts -= origin
        yield packet


def _iter_pictures(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """Yield the packets of a video; those of an AVI that reorders its frames get times."""
    if not is_reordered_avi(Opening(container, stream, None)):
        yield from _iter_packets(container, stream)
        return

    with open_container(container.name) as fresh:
        times = ShownTimes.from_frames(fresh.decode(_require_video(fresh, Path(container.name))))
    for packet in iter_packets(container, stream):
        if times.set_times(packet):
            yield packet


def _repeat(data: bytes, seconds: Fraction) -> Iterator[av.Packet]:
    """Yield one picture as often as it takes to fill a time."""
    # At least once, so that a sound shorter than a frame has a picture.
    for index in range(max(int(seconds * _STILL_FRAMES_PER_SECOND), 1)):
        packet = av.Packet(data)
        packet.pts = packet.dts = index
        packet.duration, packet.time_base = 1, Fraction(1, _STILL_FRAMES_PER_SECOND)
        packet.is_keyframe = True
        yield packet


def _find_seconds(container: InputContainer, track: AudioStream) -> Fraction:
    """Return how long a sound lasts, exactly: a still is shown for that time, in whole frames."""
    if track.duration is not None and track.time_base is not None:
        return track.duration * track.time_base
    return Fraction(container.duration or 0, av.time_base)
