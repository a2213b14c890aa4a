"""Decoding only what is needed: from the last keyframe before a wanted frame up to that frame's own packet.

Packets are read ahead without decoding until it is certain which of them holds the wanted frame; on the way there, what
nothing references is dropped. Whatever does not fit (packets without timestamps, a decoder that complains) is a
``PlanFailedError``: `video.py` then decodes from the beginning.
"""

from collections.abc import Callable, Iterator

import av
from av.codec.context import CodecContext
from av.video.frame import PictureType

# Codecs in which a picture marked as not referenced is never used by any other. HEVC's "sub-layer non-reference"
# pictures can be used by higher temporal layers, so they are dropped where there is one layer; VP8/VP9 carry state from
# frame to frame: nothing is dropped there.
_DROPPABLE_CODECS = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4"})
_INTER_TYPES = (PictureType.P, PictureType.B)
_HEVC_SEQUENCE_PARAMETERS = 33  # a type of NAL unit


class PlanFailedError(Exception):
    """The quick way cannot be trusted for this file: it is to be decoded sequentially."""


class PacketRun:
    """One stretch of packets in decoding order, from a keyframe on: frames wanted of it, in ascending order.

    ``is_start``: it begins with the stream's first packet. ``has_lost_its_end``: asked with the last packet's decoding
    timestamp at the end of the file, says whether the stream should have gone on. Every method may raise
    ``PlanFailedError`` or FFmpeg's errors.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        *,
        is_start: bool,
        has_lost_its_end: Callable[[int | None], bool],
    ):
        self._context: CodecContext = stream.codec_context
        self._packets: Iterator[av.Packet] = container.demux(stream)
        self._can_drop = _can_drop(stream.codec_context)
        self._is_dropping: bool | None = None  # not known: the context may have served another run
        self._is_start = is_start
        self._has_lost_its_end = has_lost_its_end
        self._is_ended = False
        self._unsent: list[av.Packet] = []
        self._candidates: list[
            int
        ] = []  # timestamps of packets read, ascending, from the last wanted one on
        self._last_dts = None
        self._wanted: list[int] = []  # timestamps in the order asked for, not yet yielded
        self._frames: dict[int, av.VideoFrame] = {}
        self._sent_pts: set[int] = set()
        self._last_wanted = None
        self._entry: int | None = (
            None  # timestamp of the keyframe that decoding began with, until it has come out
        )
        self._read_first_keyframe()
        if not is_start and self._unsent:
            self._note_entry(self._unsent[0])

    def _read_packet(self) -> bool:
        """Read one more packet; False at the end of the file."""
        if self._is_ended:
            return False
        packet = next(self._packets, None)
        if packet is None or (packet.dts is None and packet.size == 0):
            self._is_ended = True
            if self._has_lost_its_end(self._last_dts):
                raise PlanFailedError
            return False
        if packet.pts is None or packet.is_corrupt:
            raise PlanFailedError
        if packet.dts is not None:
            if self._last_dts is not None and packet.dts < self._last_dts:
                raise PlanFailedError
            self._last_dts = packet.dts
        self._unsent.append(packet)
        if not packet.is_discard:
            self._candidates.append(packet.pts)
        return True

    def _read_first_keyframe(self) -> None:
        while self._read_packet():
            if self._unsent[-1].is_keyframe:
                break
            self._unsent.pop()
            self._candidates.clear()
        if not self._unsent and self._is_start:
            raise PlanFailedError

    def _note_entry(self, keyframe: av.Packet) -> None:
        if not keyframe.is_discard:
            self._entry = keyframe.pts

    def _check_entry(self, frame: av.VideoFrame) -> None:
        """That decoding began with a picture that needs no other, whatever the container says."""
        # Where an encoder refreshes the picture piece by piece, H.264 marks as keyframes what is whole only some
        # frames later. FFmpeg keeps the frames until then to itself, but takes some for whole that are not.
        # In H.264 it knows itself what else cannot be a beginning, in other codecs it gives grey pictures.
        needs_others = (
            self._context.name != "h264" and frame.pict_type in _INTER_TYPES and not frame.key_frame
        )
        if frame.pts > self._entry or needs_others:
            raise PlanFailedError
        self._entry = None

    def begins_by(self, limit: int) -> bool:
        """Whether the first keyframe is early enough to know what is shown at ``limit``."""
        return bool(self._unsent) and self._unsent[0].pts <= limit

    def want(self, limit: int) -> None:
        """Find which frame is shown at ``limit`` and feed the decoder up to its packet."""
        # No packet is decoded after it is shown: once one's decoding time is past the limit, all candidates are known.
        while (self._last_dts is None or self._last_dts <= limit) and self._read_packet():
            pass
        while not self._candidates or (
            min(self._candidates) > limit
            and self._last_dts is not None
            and self._last_dts <= min(self._candidates)
        ):
            if not self._read_packet():
                break
        if not self._candidates:
            raise PlanFailedError
        shown = [pts for pts in self._candidates if pts <= limit]
        if not shown and not self._is_start:
            raise PlanFailedError
        pts = max(shown) if shown else min(self._candidates)
        self._candidates = [candidate for candidate in self._candidates if candidate >= pts]
        self._wanted.append(pts)
        if pts == self._last_wanted:
            return
        self._last_wanted = pts
        if pts not in self._sent_pts:
            self._send_until(pts)

    def _send_until(self, pts: int) -> None:
        indexes = [
            index
            for index, packet in enumerate(self._unsent)
            if packet.pts == pts and not packet.is_discard
        ]
        if not indexes:
            raise PlanFailedError
        stop = indexes[-1] + 1
        for index in range(indexes[0], 0, -1):  # a later keyframe saves decoding what is before it
            packet = self._unsent[index]
            if packet.is_keyframe and packet.pts <= pts and not packet.is_discard:
                self._drain()
                self._note_entry(packet)
                del self._unsent[:index]
                stop -= index
                break
        self._sent_pts = {sent for sent in self._sent_pts if sent >= pts}
        for packet in self._unsent[:stop]:
            if self._can_drop and (packet.pts < pts) != self._is_dropping:
                self._is_dropping = packet.pts < pts
                self._context.skip_frame = "NONREF" if self._is_dropping else "DEFAULT"
            self._decode(packet)
            self._sent_pts.add(packet.pts)
        del self._unsent[:stop]

    def _decode(self, packet: av.Packet | None) -> None:
        for frame in self._context.decode(packet):
            if frame.is_corrupt or frame.pts is None:
                raise PlanFailedError
            if self._entry is not None and frame.pts >= self._entry:
                self._check_entry(frame)
            if frame.pts in self._wanted or frame.pts >= self._last_wanted:
                self._frames[frame.pts] = frame

    def _drain(self) -> None:
        """Get the delayed frames out; the decoder then waits for a keyframe."""
        if any(pts not in self._frames for pts in self._wanted):
            self._decode(None)
        self._context.flush_buffers()

    def ready(self) -> Iterator[av.VideoFrame]:
        """Yield what has come out, in the order asked for."""
        while self._wanted and self._wanted[0] in self._frames:
            pts = self._wanted.pop(0)
            frame = self._frames[pts]
            for old in [old for old in self._frames if old < pts]:
                del self._frames[old]
            yield frame

    def finish(self) -> Iterator[av.VideoFrame]:
        """Yield all that is still owed."""
        try:
            self._drain()
        except av.FFmpegError as error:
            raise PlanFailedError from error
        yield from self.ready()
        if self._wanted:
            raise PlanFailedError


def _can_drop(context: CodecContext) -> bool:
    if context.name == "hevc":
        return count_hevc_layers(context.extradata or b"") == 1
    return context.name in _DROPPABLE_CODECS


def count_hevc_layers(configuration: bytes) -> int | None:
    """How many temporal layers the sequences of an HEVC stream may have; None where its header does not say.

    ``configuration``: the decoder configuration record of MP4 and Matroska (ISO/IEC 14496-15), which lists parameter
    sets.
    """
    if len(configuration) < 23 or configuration[0] != 1:
        return None
    position, most = 23, None
    for _ in range(configuration[22]):
        if position + 3 > len(configuration):
            return None
        kind = configuration[position] & 63
        num_units = int.from_bytes(configuration[position + 1 : position + 3], "big")
        position += 3
        for _ in range(num_units):
            size = int.from_bytes(configuration[position : position + 2], "big")
            unit = configuration[position + 2 : position + 2 + size]
            if size < 3 or len(unit) < size:
                return None
            if kind == _HEVC_SEQUENCE_PARAMETERS:
                most = max(most or 1, (unit[2] >> 1 & 7) + 1)
            position += 2 + size
    return most
