"""Decode only what wanted frames need: from a keyframe up to the packet that holds the frame.

A keyframe is a picture that needs no other. Every other picture refers to pictures before it (and,
in decoding order, B pictures refer to later ones). A run of packets is therefore decoded from the
last keyframe before the wanted frame. Three things save time on the way:

1. Packets are read ahead without decoding until it is certain which of them holds the wanted frame.
   Reading a packet's timestamps takes no time, but decoding its picture does.
2. Between the keyframe and that packet, pictures that no other picture refers to are dropped.
3. Decoding stops at that packet. If the decoder still holds its picture back, the decoder is
   drained.

The result must equal a decode of the whole file, bit for bit. If a run cannot be sure of that
(packets without timestamps, errors of the decoder, a false keyframe), it raises `PlanFailedError`.
The caller then decodes from the beginning of the file.
"""

from collections.abc import Iterator
from typing import NamedTuple

import av
from av.container import InputContainer
from av.video.frame import PictureType

from pipeline.media.files.container import has_lost_its_end, iter_packets
from pipeline.media.files.timeline import find_shown_frame
from pipeline.media.pictures.frame import PixelAspects

# In these codecs no picture refers to one that is marked as not referenced. HEVC is left out: its
# higher temporal layers may refer to such pictures. So are VP8 and VP9: they carry a state from
# frame to frame.
DROPPABLE_CODECS = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4"})
_INTER_TYPES = (PictureType.P, PictureType.B)


class PlanFailedError(Exception):
    """The quick way cannot be trusted for this file: decode it from the beginning."""


class _TimedPacket(NamedTuple):
    pts: int  # when its picture is shown
    packet: av.Packet


class PacketRun:
    """Frames of one stretch of packets in decoding order, from a keyframe on.

    Use: ``want`` each time in ascending order and take what ``iter_ready`` has after each; at the
    end, ``finish``. Every method may raise `PlanFailedError` or FFmpeg's errors.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: av.VideoStream,
        *,
        aspects: PixelAspects,
        is_start: bool,
        is_cut_off: bool,
    ):
        """Begin at the first keyframe from the container's position on.

        Args:
            container: The file, at the position from which packets are read.
            stream: Its video, with a decoder that holds nothing.
            aspects: Receives what the decoder says about the shape of pixels.
            is_start: Whether the position is the file's beginning.
            is_cut_off: Whether the file is known to be shorter than it says.
        """
        self._context = stream.codec_context
        self._can_drop = stream.codec_context.name in DROPPABLE_CODECS
        self._is_dropping: bool | None = None  # unknown: another run may have used the decoder
        self._aspects = aspects
        self._is_start = is_start

        self._wanted: list[int] = []  # timestamps in the order asked for, not yet yielded
        self._last_wanted: int | None = None
        self._sent: set[int] = set()  # timestamps of the packets given to the decoder
        self._frames: dict[int, av.VideoFrame] = {}  # what came out, by timestamp
        # Timestamp of the keyframe that decoding began with, until its picture has come out.
        self._entry: int | None = None

        self._lookahead = _Lookahead(container, stream, is_cut_off=is_cut_off)
        self._lookahead.read_first_keyframe()
        if self._lookahead.packets and not is_start:
            self._expect_entry(self._lookahead.packets[0])
        if not self._lookahead.packets and is_start:
            raise PlanFailedError

    def begins_by(self, limit: int) -> bool:
        """Return whether the first keyframe is early enough to know what is shown at ``limit``."""
        packets = self._lookahead.packets
        return bool(packets) and packets[0].pts <= limit

    def want(self, limit: int) -> None:
        """Find which frame is shown at ``limit`` and feed the decoder up to its packet."""
        pts = self._lookahead.find_shown(limit)
        # Before the first frame of the file, the first frame is shown. A run that begins later does
        # not know the frame before it.
        if pts > limit and not self._is_start:
            raise PlanFailedError

        self._wanted.append(pts)
        # A frame that is shown for long is wanted several times.
        if pts == self._last_wanted:
            return
        self._last_wanted = pts
        # The packet may have been decoded for an earlier frame: B pictures refer to later ones.
        if pts not in self._sent:
            self._send_until(pts)

    def iter_ready(self) -> Iterator[av.VideoFrame]:
        """Yield the wanted frames that have come out, in the order asked for."""
        while self._wanted and self._wanted[0] in self._frames:
            pts = self._wanted.pop(0)
            frame = self._frames[pts]
            # Wanted times ascend, so earlier frames are not needed any more.
            for old in [old for old in self._frames if old < pts]:
                del self._frames[old]
            yield frame

    def finish(self) -> Iterator[av.VideoFrame]:
        """Yield all wanted frames that have not come out yet."""
        try:
            self._drain()
        except av.FFmpegError as error:
            raise PlanFailedError from error

        yield from self.iter_ready()
        if self._wanted:
            raise PlanFailedError

    def _send_until(self, pts: int) -> None:
        packets = self._lookahead.packets
        positions = self._lookahead.find_packets(pts)
        stop = positions[-1] + 1

        # A later keyframe saves decoding what is before it.
        begin = self._lookahead.find_keyframe(pts, last=positions[0])
        if begin > 0 or self._lookahead.has_forgotten:
            self._lookahead.has_forgotten = False
            self._drain()
            self._expect_entry(packets[begin])

        # Earlier pictures are wanted no more. Later ones must not be sent twice.
        self._sent = {sent for sent in self._sent if sent >= pts}
        for timed in packets[begin:stop]:
            # Earlier pictures are decoded only because others refer to them.
            self._allow_dropping(timed.pts < pts)
            self._decode(timed.packet)
            if not timed.packet.is_discard:
                self._sent.add(timed.pts)
        del packets[:stop]

    def _allow_dropping(self, is_dropping: bool) -> None:
        """Let the decoder drop pictures that no other refers to, or not."""
        if self._can_drop and is_dropping != self._is_dropping:
            self._is_dropping = is_dropping
            self._context.skip_frame = "NONREF" if is_dropping else "DEFAULT"

    def _decode(self, packet: av.Packet | None) -> None:
        """Give the decoder a packet (None: its end) and keep the frames that may be wanted."""
        assert self._last_wanted is not None
        frames = self._context.decode(packet)
        self._aspects.note(packet, self._context)

        for frame in frames:
            # The sure way decides what such a picture is worth.
            if frame.is_corrupt or frame.pts is None:
                raise PlanFailedError
            if self._entry is not None and frame.pts >= self._entry:
                self._check_entry(frame)

            # Frames after the last wanted one may be wanted next.
            if frame.pts in self._wanted or frame.pts >= self._last_wanted:
                self._frames[frame.pts] = frame

    def _drain(self) -> None:
        """Get the delayed frames out; the decoder then waits for a keyframe."""
        if any(pts not in self._frames for pts in self._wanted):
            self._decode(None)
        self._context.flush_buffers()

    def _expect_entry(self, keyframe: _TimedPacket) -> None:
        # A packet marked to be discarded (before an edit list) gives no picture to check.
        if not keyframe.packet.is_discard:
            self._entry = keyframe.pts

    def _check_entry(self, frame: av.VideoFrame) -> None:
        """Check that decoding began with a picture that needs no other.

        Containers can call any picture a keyframe. Some encoders refresh the picture piece by
        piece. Then H.264 marks pictures as keyframes that become whole only some frames later.
        FFmpeg holds back the frames until then, but sometimes not all of them. In H.264 FFmpeg
        recognizes all other pictures that cannot be a beginning. In other codecs it gives grey.
        """
        needs_others = (
            self._context.name != "h264" and frame.pict_type in _INTER_TYPES and not frame.key_frame
        )

        assert self._entry is not None and frame.pts is not None
        if frame.pts > self._entry or needs_others:
            raise PlanFailedError
        self._entry = None


class _Lookahead:
    """Packets read ahead of the decoder, and which of them holds the frame shown at a time."""

    def __init__(self, container: InputContainer, stream: av.VideoStream, *, is_cut_off: bool):
        self.packets: list[_TimedPacket] = []  # read but not yet decoded, in decoding order
        self.has_forgotten = False  # packets were dropped that nobody has decoded
        self._container = container
        self._stream = stream
        self._is_cut_off = is_cut_off
        self._source: Iterator[av.Packet] = iter_packets(container, stream)
        self._is_ended = False
        self._last_dts: int | None = None  # of the last packet that is shown
        self._end_dts: int | None = None  # of the last packet
        # Timestamps of the packets read, from the last frame found on: what may be shown next.
        self._candidates: list[int] = []

    def read_first_keyframe(self) -> None:
        """Read packets up to the first keyframe and forget those before it."""
        while self._read_packet():
            if self.packets[-1].packet.is_keyframe:
                break
            self.packets.pop()
            self._candidates.clear()

    def find_shown(self, limit: int) -> int:
        """Return the timestamp of the frame shown at ``limit``, reading as far as that takes."""
        # No frame is shown before it is decoded. So stop at a decoding time beyond the limit: no
        # later packet can hold a frame that is shown by then.
        while (self._last_dts is None or self._last_dts <= limit) and self._read_packet():
            self._forget_before_keyframe(limit)
        # Before the first frame, the first frame is shown. An earlier frame may still follow.
        while self._may_begin_earlier(limit) and self._read_packet():
            pass
        if not self._candidates:
            raise PlanFailedError

        pts = find_shown_frame(self._candidates, limit)
        self._candidates = [candidate for candidate in self._candidates if candidate >= pts]
        return pts

    def _forget_before_keyframe(self, limit: int) -> None:
        """Drop what lies before the last packet, if that is a keyframe shown by ``limit``.

        Decoding begins there or later, and a file that is read from its beginning can be large.
        """
        pts, packet = self.packets[-1]
        if packet.is_keyframe and pts <= limit and not packet.is_discard and len(self.packets) > 1:
            del self.packets[:-1]
            self.has_forgotten = True

    def _may_begin_earlier(self, limit: int) -> bool:
        if not self._candidates:
            return True

        # A picture is decoded before it is shown. Once decoding has passed the first one, nothing
        # that is shown earlier can come.
        first = min(self._candidates)
        return first > limit and self._last_dts is not None and self._last_dts <= first

    def find_packets(self, pts: int) -> list[int]:
        """Return the positions in ``packets`` of what is shown at a timestamp.

        There are several where a packet holds half a picture (interlaced video).
        """
        positions = [
            position
            for position, timed in enumerate(self.packets)
            if timed.pts == pts and not timed.packet.is_discard
        ]
        if not positions:
            raise PlanFailedError
        return positions

    def find_keyframe(self, pts: int, *, last: int) -> int:
        """Return the position, up to ``last``, of the last keyframe that is shown by ``pts``.

        0, the beginning of ``packets``, where there is none.
        """
        # From behind: the later the keyframe, the fewer pictures have to be decoded.
        for position in range(last, 0, -1):
            shown, packet = self.packets[position]
            if packet.is_keyframe and shown <= pts and not packet.is_discard:
                return position
        return 0

    def _read_packet(self) -> bool:
        """Read one more packet; False at the end of the file."""
        if self._is_ended:
            return False

        packet = next(self._source, None)
        # PyAV ends a stream with an empty packet.
        if packet is None or (packet.dts is None and packet.size == 0):
            self._is_ended = True
            if has_lost_its_end(
                self._container, self._stream, self._end_dts, is_cut_off=self._is_cut_off
            ):
                raise PlanFailedError
            return False

        # The timestamps alone must say when each packet is shown.
        if packet.pts is None or packet.is_corrupt:
            raise PlanFailedError
        self._end_dts = packet.dts if packet.dts is not None else self._end_dts
        # Between two edits of an MP4 lie packets that are not shown, with times of what follows.
        if packet.dts is not None and not packet.is_discard:
            # Decoding times that run back are another recording, or damage.
            if self._last_dts is not None and packet.dts < self._last_dts:
                raise PlanFailedError
            self._last_dts = packet.dts

        self.packets.append(_TimedPacket(packet.pts, packet))
        # Packets before the start of an edit list are decoded but never shown.
        if not packet.is_discard:
            self._candidates.append(packet.pts)
        return True
