"""One media file of separate ones, without losing anything: streams are copied, never encoded again.

Urbansas keeps picture and sound in two files; folders that people have hold clips as video and wav, or as one still and
wav. A clip of Earshot is one file. The same inputs give the same bytes.
"""

import heapq
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error

from earshot.errors import MediaError
from earshot.files import publish

SUFFIX = ".mkv"  # holds every codec that is copied here, PCM included
_STILL_FRAMES_PER_SECOND = 8


def mux(video_path: Path, audio_path: Path, target_path: Path) -> None:
    """Publish at ``target_path`` the picture of one file with the sound of another. Raises MediaError."""
    try:
        with av.open(os.fspath(video_path)) as video, av.open(os.fspath(audio_path)) as sound:
            picture = _first(video.streams.video, "no_video", video_path)
            track = _first(sound.streams.audio, "no_audio", audio_path)
            with publish(target_path) as temporary_path, _open_output(temporary_path) as output:
                streams = (
                    output.add_stream_from_template(picture),
                    output.add_stream_from_template(track),
                )
                packets = (_packets(video, picture), _packets(sound, track))
                _interleave(output, zip(packets, streams, strict=True))
    except (av.error.FFmpegError, ValueError) as error:
        raise MediaError(
            "corrupt", f"{video_path} with {audio_path}: cannot be joined: {error}"
        ) from None


def mux_still(image_path: Path, audio_path: Path, target_path: Path) -> None:
    """Publish a clip that shows one JPEG or PNG for as long as a sound lasts. Raises MediaError.

    The JPEG's bytes are kept; a PNG, which this container cannot hold, becomes FFV1 (lossless as well).
    """
    try:
        with av.open(os.fspath(image_path)) as image, av.open(os.fspath(audio_path)) as sound:
            picture = _first(image.streams.video, "no_video", image_path)
            if picture.codec_context.name not in ("mjpeg", "png"):
                raise MediaError(
                    "no_video",
                    f"{image_path}: is {picture.codec_context.name}, expected JPEG or PNG",
                )
            track = _first(sound.streams.audio, "no_audio", audio_path)
            with publish(target_path) as temporary_path, _open_output(temporary_path) as output:
                is_jpeg = picture.codec_context.name == "mjpeg"
                out_picture = output.add_stream(
                    "mjpeg" if is_jpeg else "ffv1", rate=_STILL_FRAMES_PER_SECOND
                )
                out_picture.width, out_picture.height = (
                    picture.codec_context.width,
                    picture.codec_context.height,
                )
                out_picture.pix_fmt = picture.codec_context.pix_fmt if is_jpeg else "bgr0"
                if is_jpeg:
                    data = Path(image_path).read_bytes()
                else:
                    frame = next(image.decode(picture)).reformat(format="bgr0")
                    encoded = [*out_picture.encode(frame), *out_picture.encode(None)]
                    data = b"".join(bytes(packet) for packet in encoded)
                out_track = output.add_stream_from_template(track)
                pictures = _repeat(data, _seconds_of(sound, track))
                _interleave(output, ((pictures, out_picture), (_packets(sound, track), out_track)))
    except (av.error.FFmpegError, ValueError, StopIteration) as error:
        raise MediaError(
            "corrupt", f"{image_path} with {audio_path}: cannot be joined: {error}"
        ) from None


def _open_output(path: Path):
    # bitexact: no random identifiers, dates or versions in the file.
    return av.open(os.fspath(path), "w", format="matroska", options={"fflags": "+bitexact"})


def _interleave(output, streams) -> None:
    """Write ``(packets, stream)`` pairs in the order of their decoding times."""
    for _, packet in heapq.merge(
        *(_keyed(packets, stream) for packets, stream in streams), key=lambda item: item[0]
    ):
        output.mux(packet)


def _keyed(packets: Iterator[av.Packet], stream) -> Iterator[tuple[Fraction, av.Packet]]:
    for packet in packets:
        time = packet.dts if packet.dts is not None else packet.pts
        key = Fraction(0) if time is None else time * packet.time_base
        packet.stream = stream
        yield key, packet


def _packets(container, stream) -> Iterator[av.Packet]:
    for packet in container.demux(stream):
        if packet.size and (packet.dts is not None or packet.pts is not None):
            yield packet


def _repeat(data: bytes, seconds: Fraction) -> Iterator[av.Packet]:
    for index in range(max(int(seconds * _STILL_FRAMES_PER_SECOND), 1)):
        packet = av.Packet(data)
        packet.pts = packet.dts = index
        packet.duration, packet.time_base = 1, Fraction(1, _STILL_FRAMES_PER_SECOND)
        packet.is_keyframe = True
        yield packet


def _seconds_of(container, track) -> Fraction:
    if track.duration is not None and track.time_base is not None:
        return track.duration * track.time_base
    return Fraction(container.duration or 0, av.time_base)


def _first(streams, reason: str, path: Path):
    if not streams:
        raise MediaError(
            reason, f"{path}: has {'no video' if reason == 'no_video' else 'no audio'} stream"
        )
    return streams[0]
