"""Decode a video in order from its beginning, around what is damaged in it.

A lost transport packet or a wrong bit damages one picture, and every picture that refers to it.
From the next keyframe on, all pictures are whole again. So decoding starts again at this keyframe,
as at the beginning of a file. The pictures between are lost and reported as `Damage`. None of them
is returned, although the decoder takes pictures for whole that refer to a damaged one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import av
from av.video.frame import PictureType

from earshot.errors import MediaError
from pipeline.media.files.container import has_lost_its_end, iter_packets
from pipeline.media.files.media_file import Opening
from pipeline.media.pictures.frame import PixelAspects
from pipeline.media.pictures.timestamps import TimestampRepair

_INTER_TYPES = (PictureType.P, PictureType.B)


class TimedFrame(NamedTuple):
    """A whole picture, and when it is shown."""

    pts: int
    frame: av.VideoFrame

    @property
    def stop(self) -> int:
        """The timestamp at which it ends, as far as that is known."""
        return self.pts + max(self.frame.duration or 0, 1)


@dataclass
class Damage:
    """Pictures are lost, up to the next frame that is given (to the end where there is none)."""

    first: int | None  # timestamp of the first lost picture; None: nothing was whole before
    cause: Exception

    def extend(self, pts: int | None) -> None:
        """Count one more picture among the lost ones."""
        if pts is not None and self.first is not None:
            self.first = min(self.first, pts)


@dataclass
class _Loss:
    """Damage whose end is not known yet."""

    damage: Damage
    # Whole pictures that the decoder still held. Lost pictures may be shown before some of them.
    held: list[TimedFrame | Damage] = field(default_factory=list)
    # Whether lost pictures may be among them whose timestamp is unknown.
    has_unknown: bool = False
    # When the last whole picture that was given before ends.
    whole_until: int | None = None

    def finish(self) -> list[TimedFrame | Damage]:
        """Return the whole pictures and, behind them, the damage."""
        items: list[TimedFrame | Damage] = []
        # Those shown after the first lost picture may refer to it, so only earlier ones are whole.
        for item in self.held:
            if isinstance(item, Damage):
                items.append(item)
            elif self.damage.first is None or item.pts < self.damage.first:
                items.append(item)
                self.whole_until = item.stop

        if self.has_unknown:
            self.damage.extend(self.whole_until)
        return [*items, self.damage]


class WholeDecode:
    """All pictures of a video that are whole, in the order in which they are shown.

    Example:
        >>> decode = WholeDecode(
        ...     opening,
        ...     origin_seconds=0.0,
        ...     is_cut_off=False,
        ...     damaged=frozenset(),
        ...     aspects=PixelAspects(opening.video),
        ... )
        >>> for item in decode:
        ...     if isinstance(item, Damage):
        ...         print("lost from", item.first)
    """

    def __init__(
        self,
        opening: Opening,
        *,
        origin_seconds: float,
        is_cut_off: bool,
        damaged: frozenset[int],
        aspects: PixelAspects,
    ):
        """Begin at the start of a file.

        Args:
            opening: A file opened anew, with a video.
            origin_seconds: The time, by the file's own timestamps, that is the clip's zero.
            is_cut_off: Whether the file is known to be shorter than it says.
            damaged: Positions in the file of packets that are known to be damaged.
            aspects: Receives what the decoder says about the shape of pixels.
        """
        assert opening.video is not None
        self._container = opening.container
        self._stream = opening.video
        self._context = opening.video.codec_context
        self._is_cut_off = is_cut_off
        self._damaged = damaged
        self._aspects = aspects
        self._is_mpegts = opening.container.format.name == "mpegts"
        self._timestamps = TimestampRepair(opening, origin_seconds=origin_seconds)

        self._last_dts: int | None = None
        self._end: Exception | None = None  # what ends the video early
        self._junk: Exception | None = None  # the decoder's complaint before any keyframe
        self._whole_until: int | None = None  # when the last picture that was given ends

        self._loss: _Loss | None = None
        # While pictures are lost: the keyframe where decoding went on, until it is decoded.
        self._entry: int | None = None
        self._resumed_at: int | None = None  # the last such keyframe that was decoded
        # Keyframes that the decoder has, and that are shown after the last picture given.
        self._keyframes: list[int] = []
        self._has_begun = False  # the decoder has a keyframe, or has given a picture

    def __iter__(self) -> Iterator[TimedFrame | Damage]:
        """Yield whole pictures and, where some are missing, `Damage`."""
        for packet in self._iter_packets():
            yield from self._take(packet)
        yield from self._finish()

    def _iter_packets(self) -> Iterator[av.Packet]:
        packets = iter_packets(self._container, self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self._end = error
                return

            if packet is None:
                break

            if packet.dts is not None:
                self._last_dts = packet.dts
            yield packet

        # A file can be shorter than its index says without any packet being damaged.
        if has_lost_its_end(
            self._container, self._stream, self._last_dts, is_cut_off=self._is_cut_off
        ):
            self._end = EOFError("the file is cut off")

    def _take(self, packet: av.Packet) -> list[TimedFrame | Damage]:
        """Decode a packet, or skip it if it cannot give whole pictures."""
        if self._loss is not None and self._entry is None:
            if not self._can_enter(packet):
                self._loss.damage.extend(packet.pts)
                return []
            self._context.flush_buffers()
            self._entry = packet.pts

        if self._is_damaged(packet):
            what = "packets of it are lost" if self._is_mpegts else "the file is cut off"
            return self._lose(packet, EOFError(what))

        self._timestamps.note_packet(packet)
        if packet.is_keyframe and packet.pts is not None:
            self._has_begun = True
            self._keyframes.append(packet.pts)

        try:
            frames = self._context.decode(packet)
        except av.FFmpegError as error:
            return self._note_complaint(packet, error)
        self._aspects.note(packet, self._context)
        return self._accept(frames)

    def _is_damaged(self, packet: av.Packet) -> bool:
        # In MPEG-TS FFmpeg marks the wrong packet.
        if self._is_mpegts:
            return packet.pos in self._damaged
        return packet.is_corrupt

    def _can_enter(self, packet: av.Packet) -> bool:
        """Return whether decoding can go on at a packet behind damage."""
        return (
            packet.is_keyframe
            and packet.pts is not None
            and not (self._is_damaged(packet) or packet.is_discard)
            and self._timestamps.can_skip
        )

    def _note_complaint(self, packet: av.Packet, error: Exception) -> list[TimedFrame | Damage]:
        """Decide what it means that the decoder refuses a packet."""
        # A recording can begin in the middle of a group of pictures.
        if not self._has_begun:
            self._junk = error
            return []
        # Pictures that are shown before a keyframe may refer to lost pictures.
        entry = self._resumed_at if self._entry is None else self._entry
        if entry is not None and packet.pts is not None and packet.pts < entry:
            return []
        return self._lose(packet, error)

    def _lose(self, packet: av.Packet, cause: Exception) -> list[TimedFrame | Damage]:
        """Begin to skip packets, at one that is damaged."""
        # The pictures that the decoder still holds come from whole packets.
        whole_until = self._whole_until
        items = self._drain()

        self._entry = None
        if self._loss is None:
            first = self._whole_until if packet.pts is None else packet.pts
            self._loss = _Loss(
                Damage(first, cause),
                held=items,
                has_unknown=self._is_mpegts,
                whole_until=whole_until,
            )
            return []
        self._loss.damage.extend(packet.pts)
        return items

    def _drain(self) -> list[TimedFrame | Damage]:
        """Get the delayed pictures out; the decoder then waits for a keyframe."""
        try:
            items = self._accept(self._context.decode(None))
        except av.FFmpegError:
            items = []

        self._context.flush_buffers()
        self._keyframes.clear()
        return items

    def _accept(self, frames: list[av.VideoFrame]) -> list[TimedFrame | Damage]:
        """Return the pictures that are whole, and the damage that ends with one of them."""
        items: list[TimedFrame | Damage] = []
        for frame in frames:
            pts = self._timestamps.find_timestamp(frame)
            if self._loss is not None and not self._ends_loss(pts, frame):
                continue
            if self._loss is not None:
                items += self._loss.finish()
                self._loss, self._entry, self._resumed_at = None, None, pts
            # Pictures shown before the keyframe where decoding went on may refer to lost pictures.
            if self._resumed_at is not None and pts < self._resumed_at:
                continue

            self._keyframes = [keyframe for keyframe in self._keyframes if keyframe > pts]
            if frame.is_corrupt:
                self._note_corrupt_frame(pts)
                continue

            self._has_begun = True
            timed = TimedFrame(pts, frame)
            self._whole_until = timed.stop
            items.append(timed)
        return items

    def _note_corrupt_frame(self, pts: int) -> None:
        error = ValueError("the decoder found errors")
        # A recording can begin in the middle of a group of pictures.
        if not self._has_begun:
            self._junk = error
            return
        self._loss = _Loss(Damage(pts, error))
        # Frames come out late, so the decoder may have the next keyframe already.
        self._entry = min(self._keyframes, default=None)

    def _ends_loss(self, pts: int, frame: av.VideoFrame) -> bool:
        """Return whether a picture is the awaited keyframe, and whole."""
        if self._entry is None or pts < self._entry:
            return False

        is_whole = frame.key_frame or frame.pict_type not in _INTER_TYPES
        if pts == self._entry and is_whole and not frame.is_corrupt:
            return True
        # It was no keyframe, or was not decoded: wait for the next one.
        self._entry = None
        return False

    def _finish(self) -> list[TimedFrame | Damage]:
        """Return what is left at the end."""
        items: list[TimedFrame | Damage] = []
        if self._end is not None and self._loss is None:
            # Draining can find an earlier damage, which then takes the place of this one.
            items += self._drain()
            if self._loss is None:
                self._loss = _Loss(Damage(self._whole_until, self._end))

        if self._loss is not None:
            items += self._loss.finish()
        elif self._whole_until is None and self._junk is not None:
            items.append(Damage(None, self._junk))
        return items


def decode_first_frame(
    opening: Opening, *, origin_seconds: float, aspects: PixelAspects
) -> av.VideoFrame:
    """Return the first picture that the decoder gives, damaged or not, with a timestamp.

    Args:
        opening: A file opened anew, with a video.
        origin_seconds: The time, by the file's own timestamps, that is the clip's zero.
        aspects: Receives what the decoder says about the shape of pixels.

    Raises:
        MediaError: ``corrupt`` when nothing decodes, ``no_video`` when there are no packets.
    """
    assert opening.video is not None
    timestamps = TimestampRepair(opening, origin_seconds=origin_seconds)
    cause: Exception | None = None
    try:
        for packet in iter_packets(opening.container, opening.video):
            timestamps.note_packet(packet)
            try:
                frames = opening.video.codec_context.decode(packet)
            except av.FFmpegError as error:
                cause = error  # a recording can begin in the middle of a group of pictures
                continue

            aspects.note(packet, opening.video.codec_context)
            if frames:
                # Gives the frame its time, too.
                timestamps.find_timestamp(frames[0])
                return frames[0]
    except av.FFmpegError as error:
        cause = error

    if cause is None:
        raise MediaError("no_video", "its video stream has no frames")
    raise MediaError("corrupt", f"no frame of its video decodes{explain(cause)}")


def explain(error: Exception | None) -> str:
    """Return what FFmpeg says of an error, in brackets behind a space; nothing for None."""
    return "" if error is None else f" ({getattr(error, 'strerror', None) or error})"
