"""The frames that a clip shows at given times, equal to those of a full sequential decode but decoding far less.

The frame *shown at* a time is the last one whose presentation timestamp is not later; before the first frame it is the
first, after the end the last. Timestamps are those that FFmpeg gives after applying edit lists.

How: packets are read ahead without decoding until it is certain which packet holds the wanted frame; decoding starts at
the last keyframe before it, drops on the way what nothing references, and ends at that very packet. Whatever does not
fit that plan (a container that seeks late, packets without timestamps, a decoder that complains, an open GOP whose
frame does not come out) is decoded again from the beginning of the file, without dropping anything.
"""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import av
from av.video.reformatter import VideoReformatter

from earshot.errors import MediaError
from pipeline.media.frame import VideoFrame, pixel_aspect_of
from pipeline.media.packet_run import PacketRun, PlanFailedError

TIME_TOLERANCE_SECONDS = (
    1e-6  # a wanted time that misses a timestamp by rounding alone still means that frame
)
DEFAULT_RATE = (
    25  # frames a second of streams that have neither timestamps nor a rate; FFmpeg's own
)
_SEEK_GAP_SECONDS = (
    20.0  # wanted times farther apart are sought; nearer ones are reached by reading packets on
)
_BACK_OFF_SECONDS = (1.0, 4.0, 16.0)


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
            return MediaError(
                reason, f"{name}: no frame of its video decodes{_because(self.cause)}"
            )
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
        is_probed: bool,
        reopen: Callable,
    ):
        """``is_cut_off``: whether the file is known to be shorter than it should be, so that its last frame is not
        the last of the clip. ``is_touched``: whether packets have been read from the container. ``is_probed``:
        whether FFmpeg decoded pictures when it was opened. ``reopen`` gives a fresh (container, stream) of the same
        file, which is.
        """
        self._container = container
        self._stream = stream
        self._time_base = (
            stream.time_base.as_integer_ratio()
        )  # arithmetic with fractions would take longer than all else
        self._origin_seconds = origin_seconds
        self._name = name
        self._is_cut_off = is_cut_off
        self._reopen = reopen
        self._reformatter = VideoReformatter()
        self._is_touched = is_touched
        self._is_probed = is_probed
        # AVI has decoding times only; FFmpeg makes good presentation times of them for MPEG-4, wrong ones for H.264.
        context = stream.codec_context
        self._is_reordered_avi = (
            container.format.name == "avi"
            and context.name in ("h264", "hevc")
            and context.has_b_frames
        )
        # A palette comes with the packet that changes it, so a decoder that begins later has none.
        self._needs_all = (
            self._is_reordered_avi
            or context.pix_fmt == "pal8"
            or _has_dropped_frames(container, stream)
        )
        self._break: _Break | None = (
            None  # where decoding from the beginning ends, once that is known
        )

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
            except PlanFailedError as error:
                if not self._is_probed:  # the decoder may lack what it would have been told
                    self._renew()
                    continue
                # The decoder may have complained about what a later time needs.
                frame = self._read_alone(times[num_done])
                if frame is None:
                    num_done = yield from self._iter_otherwise(times, num_done, error)
                else:
                    num_done += 1
                    yield frame

    def _iter_otherwise(
        self, times: list[float], num_done: int, cause: Exception
    ) -> Iterator[VideoFrame]:
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
        except PlanFailedError:
            return None

    def _renew(self) -> None:
        """Go on with the file opened anew."""
        self._container, self._stream = self._reopen()
        self._is_touched, self._is_probed = False, True

    @functools.cached_property
    def _pixel_aspect(self) -> Fraction:
        """Of the first frame that is given: where the container does not say, its decoder knows by then."""
        return pixel_aspect_of(self._stream)

    def _wrap(self, frame: av.VideoFrame) -> VideoFrame:
        time_seconds = frame.pts * self._time_base[0] / self._time_base[1] - self._origin_seconds
        return VideoFrame(
            frame,
            time_seconds=time_seconds,
            pixel_aspect=self._pixel_aspect,
            reformatter=self._reformatter,
        )

    def _last_pts(self, time_seconds: float) -> int:
        """The largest timestamp that counts as not later than a time of the clip."""
        seconds, divisor = (
            time_seconds + self._origin_seconds + TIME_TOLERANCE_SECONDS
        ).as_integer_ratio()
        return seconds * self._time_base[1] // (divisor * self._time_base[0])

    def _iter_planned(self, times: list[float]) -> Iterator[VideoFrame]:
        if self._needs_all:
            raise PlanFailedError
        run = None
        for index, time in enumerate(times):
            limit = self._last_pts(time)
            if run is None or time - times[index - 1] > _SEEK_GAP_SECONDS:
                if run is not None:
                    yield from map(self._wrap, run.finish())
                run = self._start_run(time, limit)
            try:
                run.want(limit)
                yield from map(self._wrap, run.ready())
            except av.FFmpegError as error:
                raise PlanFailedError from error
        if run is not None:
            yield from map(self._wrap, run.finish())

    def _start_run(self, time: float, limit: int) -> PacketRun:
        """Seek to the keyframe before ``time``, farther back when the container seeks late."""
        first = self._stream.start_time or 0
        for back_off in (0.0, *_BACK_OFF_SECONDS):
            target = limit - int(back_off / self._stream.time_base) if back_off else limit
            if target <= first:
                break
            run = self._seek(target)
            if run.begins_by(limit):
                return run
        return self._begin()

    def _begin(self) -> PacketRun:
        """From the beginning of the file: of one freshly opened, since some containers cannot seek there exactly."""
        if self._is_touched:
            self._renew()
        self._is_touched = True
        try:
            return self._make_run(is_start=True)
        except av.FFmpegError as error:
            raise PlanFailedError from error

    def _seek(self, pts: int) -> PacketRun:
        self._is_touched = True
        try:
            self._stream.codec_context.flush_buffers()
            self._container.seek(pts, stream=self._stream, backward=True)
            return self._make_run(is_start=False)
        except av.FFmpegError as error:
            raise PlanFailedError from error

    def _make_run(self, *, is_start: bool) -> PacketRun:
        container, stream = self._container, self._stream
        return PacketRun(
            container,
            stream,
            is_start=is_start,
            has_lost_its_end=lambda last_dts: self._has_lost_its_end(container, stream, last_dts),
        )

    def _iter_sequentially(self, times: list[float]) -> Iterator[VideoFrame]:
        limits = [self._last_pts(time) for time in times]
        if self._break is not None and limits and self._break.is_before(limits[0]):
            raise self._break.error(self._name, times[0])
        container, stream = self._reopen()
        with contextlib.closing(container):
            yield from self._decode_until(container, stream, times, limits)

    def _decode_until(
        self, container, stream, times: list[float], limits: list[int]
    ) -> Iterator[VideoFrame]:
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

    def _decode_all(
        self, container, stream
    ) -> Iterator[tuple[av.VideoFrame | None, Exception | None]]:
        """Every frame of a stream, with a timestamp; the first error ends it and is given instead of a frame.

        Frames without timestamps (all of raw H.264, those before zero of Matroska) are counted at the stream's rate.
        Those of an AVI with reordered pictures get the packets' decoding times, in the order in which they are shown.
        """
        demuxing = container.demux(stream)
        last_dts = None
        num_frames = 0
        first_pts = round(self._origin_seconds / stream.time_base)
        times_in_order: collections.deque[int] = collections.deque()
        ticks_per_frame = 1 / (
            stream.time_base * (stream.average_rate or stream.guessed_rate or DEFAULT_RATE)
        )
        while True:
            try:
                packet = next(demuxing, None)
                if packet is None:
                    break
                is_cut = packet.is_corrupt
                last_dts = packet.dts if packet.dts is not None else last_dts
                if packet.size and packet.dts is not None:
                    times_in_order.append(packet.dts)
                frames = stream.codec_context.decode(None if is_cut else packet)
            except av.FFmpegError as error:
                yield None, error
                return
            for frame in frames:
                if self._is_reordered_avi and times_in_order:
                    frame.pts = times_in_order.popleft()
                if frame.pts is None:
                    frame.pts = first_pts + int(num_frames * ticks_per_frame)
                num_frames += 1
                yield frame, None
            if is_cut:
                yield None, EOFError("the file is cut off")
                return
        if self._has_lost_its_end(container, stream, last_dts):
            yield None, EOFError("the file is cut off")

    def read_first_frame(self) -> VideoFrame:
        """The first frame that decodes, damaged or not."""
        if not self._is_probed:
            self._renew()
        container, stream = self._reopen()
        for frame, broken in self._decode_all(container, stream):
            if broken is None:
                return self._wrap(frame)
            raise MediaError(
                "corrupt", f"{self._name}: no frame of its video decodes{_because(broken)}"
            )
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


def _has_dropped_frames(container, stream: av.VideoStream) -> bool:
    """Whether an AVI has frames without data, as captures do; FFmpeg counts some of them twice after it has sought."""
    if container.format.name != "avi":
        return False
    entries = stream.index_entries
    return len(entries) > 0 and entries[-1].timestamp >= len(entries)


def _because(error: Exception | None) -> str:
    return "" if error is None else f" ({getattr(error, 'strerror', None) or error})"
