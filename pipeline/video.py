"""The frames that a clip shows at given times, equal to those of a full sequential decode but decoding far less.

The frame *shown at* a time is the last one whose presentation timestamp is not later; before the first frame it is the
first, after the end the last. Timestamps are those that FFmpeg gives after applying edit lists.

How: packets are read ahead without decoding until it is certain which packet holds the wanted frame; decoding starts at
the last keyframe before it, drops on the way what nothing references, and ends at that very packet. Whatever does not
fit that plan (a container that seeks late, packets without timestamps, a decoder that complains, an open GOP whose
frame does not come out) is decoded again from the beginning of the file, without dropping anything.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import av
import cv2
import numpy as np
from av.codec.context import CodecContext
from av.video.reformatter import VideoReformatter

from pipeline.errors import MediaError

TIME_TOLERANCE_SECONDS = 1e-6  # a wanted time that misses a timestamp by rounding alone still means that frame
_SEEK_GAP_SECONDS = 20.0  # wanted times farther apart are sought; nearer ones are reached by reading packets on
_BACK_OFF_SECONDS = (1.0, 4.0, 16.0)
# Codecs in which a picture marked as not referenced is never used by any other. HEVC's "sub-layer non-reference"
# pictures can be used by higher temporal layers and VP8/VP9 carry state from frame to frame: nothing is dropped there.
_DROPPABLE_CODECS = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4"})


@dataclasses.dataclass(frozen=True)
class Orientation:
    """How stored pixels become upright: first transpose, then mirror left-right, then mirror top-bottom."""

    is_transposed: bool = False
    is_mirrored: bool = False
    is_upside_down: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Orientation":
        """From the display matrix that decoders attach to frames; angles between are rounded to quarter turns."""
        side_data = frame.side_data.get(av.sidedata.sidedata.Type.DISPLAYMATRIX)
        if side_data is None:
            return cls()
        a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(side_data), dtype="<i4")[:5])
        if abs(b) + abs(c) > abs(a) + abs(d):  # x' = c y, y' = b x
            return cls(True, c < 0, b < 0)
        return cls(False, a < 0, d < 0)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The upright image, contiguous."""
        if self.is_transposed:
            image = image.swapaxes(0, 1)
        if self.is_mirrored:
            image = image[:, ::-1]
        if self.is_upside_down:
            image = image[::-1]
        return np.ascontiguousarray(image)


class VideoFrame:
    """One decoded frame, upright, converted when asked for.

    ``time_seconds``: when it begins to be shown, on the clip's timeline. ``pixel_aspect``: width over height of one of
    its pixels. ``height`` and ``width``: of the upright frame, in pixels.
    """

    def __init__(self, frame: av.VideoFrame, *, time_seconds: float, pixel_aspect: Fraction, reformatter):
        self.time_seconds = time_seconds
        self._frame = frame
        self._reformatter = reformatter
        self._orientation = Orientation.of(frame)
        size = (frame.height, frame.width)
        self.height, self.width = reversed(size) if self._orientation.is_transposed else size
        self.pixel_aspect = 1 / pixel_aspect if self._orientation.is_transposed else pixel_aspect

    @property
    def rgb(self) -> np.ndarray:
        """uint8 ``(height, width, 3)``; colours by the stream's own matrix and range, BT.601 when it names none."""
        converted = self._reformatter.reformat(self._frame, format="rgb24", threads=1)
        return self._orientation.apply(converted.to_ndarray())

    @functools.cached_property
    def gray(self) -> np.ndarray:
        """uint8 ``(height, width)``: OpenCV's grey of ``rgb``."""
        return cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY)


class _PlanFailed(Exception):
    """The quick way cannot be trusted for this file; decode it sequentially."""


@dataclasses.dataclass(frozen=True)
class _Break:
    """Where decoding from the beginning ends before the video does: after the frame at ``pts`` (None: before any)."""

    pts: int | None
    seconds: float
    cause: Exception | None  # None: the stream has no frames

    def is_before(self, limit: int) -> bool:
        """Whether the frame shown at a timestamp lies beyond the break."""
        return self.pts is None or self.pts < limit

    def error(self, name: str, time: float) -> MediaError:
        """What to say of a wanted time beyond the break."""
        if self.pts is None:
            reason = "corrupt" if self.cause else "no_video"
            return MediaError(reason, f"{name}: no frame of its video decodes{_because(self.cause)}")
        return MediaError(
            "corrupt",
            f"{name}: the video breaks after {self.seconds:.3f} s, before the wanted {time:.3f} s"
            f"{_because(self.cause)}",
        )


class FrameReader:
    """Frames of one video stream of an open container."""

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        *,
        origin_seconds: float,
        name: str,
        is_cut_off: bool,
        is_touched: bool,
        reopen: Callable,
    ):
        """``is_cut_off``: whether the file is known to be shorter than it should be, so that its last frame is not
        the last of the clip. ``is_touched``: whether packets have been read from the container. ``reopen`` gives a
        fresh (container, stream) of the same file.
        """
        self._container = container
        self._stream = stream
        self._origin_seconds = origin_seconds
        self._name = name
        self._is_cut_off = is_cut_off
        self._reopen = reopen
        self._reformatter = VideoReformatter()
        self._is_touched = is_touched
        self._can_drop = stream.codec_context.name in _DROPPABLE_CODECS
        self._pixel_aspect = _pixel_aspect(stream)
        self._break: _Break | None = None  # where decoding from the beginning ends, once that is known

    def iter_frames(self, times: Sequence[float]) -> Iterator[VideoFrame]:
        """Yield the frame shown at each time; ``times`` in seconds of the clip's timeline, ascending.

        Raises MediaError ``corrupt`` when decoding breaks before a wanted time, ``no_video`` when nothing decodes.
        """
        times = list(times)
        num_done = 0
        while num_done < len(times):
            try:
                for frame in self._iter_planned(times[num_done:]):
                    num_done += 1
                    yield frame
            except _PlanFailed as error:
                # The decoder may have complained about what a later time needs.
                frame = self._read_alone(times[num_done])
                if frame is None:
                    num_done = yield from self._iter_otherwise(times, num_done, error)
                else:
                    num_done += 1
                    yield frame

    def _iter_otherwise(self, times: list[float], num_done: int, cause: Exception) -> Iterator[VideoFrame]:
        """Decode from the beginning for as many times as it reaches; return how many of all are done then.

        A frame beyond a break is still given where a keyframe lies between: whether a time has a frame does not depend
        on the other times.
        """
        first = num_done
        try:
            for frame in self._iter_sequentially(times[num_done:]):
                num_done += 1
                yield frame
        except MediaError as error:
            frame = self._read_alone(times[num_done]) if num_done > first else None
            if frame is None:
                raise error from cause
            num_done += 1
            yield frame
        return num_done

    def _read_alone(self, time: float) -> VideoFrame | None:
        """The frame at a time by the quick way, for this time only; None where it cannot be trusted."""
        try:
            return next(self._iter_planned([time]))
        except _PlanFailed:
            return None

    def _wrap(self, frame: av.VideoFrame) -> VideoFrame:
        time_seconds = float(frame.pts * self._stream.time_base) - self._origin_seconds
        return VideoFrame(
            frame, time_seconds=time_seconds, pixel_aspect=self._pixel_aspect, reformatter=self._reformatter
        )

    def _last_pts(self, time_seconds: float) -> int:
        """The largest timestamp that counts as not later than a time of the clip."""
        seconds = Fraction(time_seconds + self._origin_seconds + TIME_TOLERANCE_SECONDS)
        return int(seconds // self._stream.time_base)

    def _iter_planned(self, times: list[float]) -> Iterator[VideoFrame]:
        run = None
        for index, time in enumerate(times):
            limit = self._last_pts(time)
            if run is None or time - times[index - 1] > _SEEK_GAP_SECONDS:
                if run is not None:
                    yield from run.finish()
                run = self._start_run(time, limit)
            try:
                run.want(limit)
                yield from run.ready()
            except av.FFmpegError as error:
                raise _PlanFailed from error
        if run is not None:
            yield from run.finish()

    def _start_run(self, time: float, limit: int) -> "_Run":
        """Seek to the keyframe before ``time``, farther back when the container seeks late."""
        first = self._stream.start_time or 0
        for back_off in (0.0, *_BACK_OFF_SECONDS):
            target = limit - int(back_off / self._stream.time_base)
            if target <= first:
                break
            run = self._seek(target)
            if run.begins_by(limit):
                return run
        return self._begin()

    def _begin(self) -> "_Run":
        """From the beginning of the file: of one freshly opened, since some containers cannot seek there exactly."""
        if self._is_touched:
            self._container, self._stream = self._reopen()
        self._is_touched = True
        try:
            return _Run(self, is_start=True)
        except av.FFmpegError as error:
            raise _PlanFailed from error

    def _seek(self, pts: int) -> "_Run":
        self._is_touched = True
        try:
            self._stream.codec_context.flush_buffers()
            self._container.seek(pts, stream=self._stream, backward=True)
            return _Run(self, is_start=False)
        except av.FFmpegError as error:
            raise _PlanFailed from error

    def _iter_sequentially(self, times: list[float]) -> Iterator[VideoFrame]:
        limits = [self._last_pts(time) for time in times]
        if self._break is not None and limits and self._break.is_before(limits[0]):
            raise self._break.error(self._name, times[0])
        container, stream = self._reopen()
        with contextlib.closing(container):
            yield from self._decode_until(container, stream, times, limits)

    def _decode_until(self, container, stream, times: list[float], limits: list[int]) -> Iterator[VideoFrame]:
        position = 0
        current = broken = None
        for frame, broken in self._decode_all(container, stream):
            if broken is not None:
                break
            if current is not None and frame.pts <= current.pts:
                continue
            while current is not None and position < len(limits) and frame.pts > limits[position]:
                yield self._checked(current, times[position])
                position += 1
            if position == len(limits):
                return
            current = frame
        if current is None:
            self._break = _Break(None, 0.0, broken)
        elif broken is not None:
            reached = float(current.pts * stream.time_base) - self._origin_seconds
            self._break = _Break(current.pts, reached, broken)
        for time, limit in zip(times[position:], limits[position:], strict=True):
            if self._break is not None and self._break.is_before(limit):
                raise self._break.error(self._name, time)
            yield self._checked(current, time)

    def _decode_all(self, container, stream) -> Iterator[tuple[av.VideoFrame | None, Exception | None]]:
        """Every frame of a stream, with a timestamp; the first error ends it and is given instead of a frame.

        Frames of streams without timestamps (raw H.264) are counted at the stream's rate.
        """
        demuxing = container.demux(stream)
        last_dts = None
        num_frames = 0
        ticks_per_frame = 1 / (stream.time_base * (stream.average_rate or stream.guessed_rate or 25))
        while True:
            try:
                packet = next(demuxing, None)
                if packet is None:
                    break
                is_cut = packet.is_corrupt
                last_dts = packet.dts if packet.dts is not None else last_dts
                frames = stream.codec_context.decode(None if is_cut else packet)
            except av.FFmpegError as error:
                yield None, error
                return
            for frame in frames:
                if frame.pts is None:
                    frame.pts = int(num_frames * ticks_per_frame)
                num_frames += 1
                yield frame, None
            if is_cut:
                yield None, EOFError("the file is cut off")
                return
        if self._has_lost_its_end(container, stream, last_dts):
            yield None, EOFError("the file is cut off")

    def read_first_frame(self) -> VideoFrame:
        """The first frame that decodes, damaged or not."""
        container, stream = self._reopen()
        for frame, broken in self._decode_all(container, stream):
            if broken is None:
                return self._wrap(frame)
            raise MediaError("corrupt", f"{self._name}: no frame of its video decodes{_because(broken)}")
        raise MediaError("no_video", f"{self._name}: its video stream has no frames")

    def _has_lost_its_end(self, container, stream, last_dts: int | None) -> bool:
        """Whether a stream that ended at ``last_dts`` should have gone on, by its own index (MP4, MOV) or by its
        size.
        """
        if self._is_cut_off:
            return True
        if last_dts is None or not container.format.name.startswith("mov"):
            return False
        entries = stream.index_entries
        return len(entries) > 0 and entries[-1].timestamp > last_dts

    def _checked(self, frame: av.VideoFrame, time: float) -> VideoFrame:
        if frame.is_corrupt:
            raise MediaError("corrupt", f"{self._name}: the frame at {time:.3f} s is damaged")
        return self._wrap(frame)


class _Run:
    """One stretch of packets in decoding order, from a keyframe on."""

    def __init__(self, reader: FrameReader, *, is_start: bool):
        self._reader = reader
        self._context: CodecContext = reader._stream.codec_context
        self._packets: Iterator[av.Packet] = reader._container.demux(reader._stream)
        self._is_start = is_start
        self._is_ended = False
        self._unsent: list[av.Packet] = []
        self._candidates: list[int] = []  # timestamps of packets read, ascending, from the last wanted one on
        self._last_dts = None
        self._wanted: list[int] = []  # timestamps in the order asked for, not yet yielded
        self._frames: dict[int, av.VideoFrame] = {}
        self._sent_pts: set[int] = set()
        self._last_wanted = None
        self._read_first_keyframe()

    def _read_packet(self) -> bool:
        """Read one more packet; False at the end of the file."""
        if self._is_ended:
            return False
        packet = next(self._packets, None)
        if packet is None or (packet.dts is None and packet.size == 0):
            self._is_ended = True
            if self._reader._has_lost_its_end(self._reader._container, self._reader._stream, self._last_dts):
                raise _PlanFailed
            return False
        if packet.pts is None or packet.is_corrupt:
            raise _PlanFailed
        if packet.dts is not None:
            if self._last_dts is not None and packet.dts < self._last_dts:
                raise _PlanFailed
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
            raise _PlanFailed

    def begins_by(self, limit: int) -> bool:
        """Whether the first keyframe is early enough to know what is shown at ``limit``."""
        return bool(self._unsent) and self._unsent[0].pts <= limit

    def want(self, limit: int) -> None:
        """Find which frame is shown at ``limit`` and feed the decoder up to its packet."""
        # No packet is decoded after it is shown: once one's decoding time is past the limit, all candidates are known.
        while (self._last_dts is None or self._last_dts <= limit) and self._read_packet():
            pass
        while not self._candidates or (
            min(self._candidates) > limit and self._last_dts is not None and self._last_dts <= min(self._candidates)
        ):
            if not self._read_packet():
                break
        if not self._candidates:
            raise _PlanFailed
        shown = [pts for pts in self._candidates if pts <= limit]
        if not shown and not self._is_start:
            raise _PlanFailed
        pts = max(shown) if shown else min(self._candidates)
        self._candidates = [candidate for candidate in self._candidates if candidate >= pts]
        self._wanted.append(pts)
        if pts == self._last_wanted:
            return
        self._last_wanted = pts
        if pts not in self._sent_pts:
            self._send_until(pts)

    def _send_until(self, pts: int) -> None:
        indexes = [index for index, packet in enumerate(self._unsent) if packet.pts == pts and not packet.is_discard]
        if not indexes:
            raise _PlanFailed
        stop = indexes[-1] + 1
        for index in range(indexes[0], 0, -1):  # a later keyframe saves decoding what is before it
            packet = self._unsent[index]
            if packet.is_keyframe and packet.pts <= pts and not packet.is_discard:
                self._drain()
                del self._unsent[:index]
                stop -= index
                break
        self._sent_pts = {sent for sent in self._sent_pts if sent >= pts}
        for packet in self._unsent[:stop]:
            if self._reader._can_drop:
                self._context.skip_frame = "NONREF" if packet.pts < pts else "DEFAULT"
            self._decode(packet)
            self._sent_pts.add(packet.pts)
        del self._unsent[:stop]

    def _decode(self, packet: av.Packet | None) -> None:
        for frame in self._context.decode(packet):
            if frame.is_corrupt or frame.pts is None:
                raise _PlanFailed
            if frame.pts in self._wanted or frame.pts >= self._last_wanted:
                self._frames[frame.pts] = frame

    def _drain(self) -> None:
        """Get the delayed frames out; the decoder then waits for a keyframe."""
        if any(pts not in self._frames for pts in self._wanted):
            self._decode(None)
        self._context.flush_buffers()

    def ready(self) -> Iterator[VideoFrame]:
        """Yield what has come out, in the order asked for."""
        while self._wanted and self._wanted[0] in self._frames:
            pts = self._wanted.pop(0)
            frame = self._frames[pts]
            for old in [old for old in self._frames if old < pts]:
                del self._frames[old]
            yield self._reader._wrap(frame)

    def finish(self) -> Iterator[VideoFrame]:
        """Yield all that is still owed."""
        try:
            self._drain()
        except av.FFmpegError as error:
            raise _PlanFailed from error
        yield from self.ready()
        if self._wanted:
            raise _PlanFailed


def _pixel_aspect(stream: av.VideoStream) -> Fraction:
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return Fraction(aspect) if aspect and Fraction(1, 8) <= aspect <= 8 else Fraction(1)


def _because(error: Exception | None) -> str:
    return "" if error is None else f" ({getattr(error, 'strerror', None) or error})"
