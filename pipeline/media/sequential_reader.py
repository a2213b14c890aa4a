"""Read frames by decoding a video from its beginning: slow, and right for every file.

`FrameReader` comes here when it cannot start at a keyframe: packets without timestamps, a decoder
that complains, containers that seek late. What this module gives defines what is right.
"""

import collections
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import av

from earshot.errors import MediaError
from pipeline.media.container import has_lost_its_end
from pipeline.media.frame import FrameWrapper, VideoFrame
from pipeline.media.media_file import MediaFile, Opening
from pipeline.media.timeline import StreamClock, find_frame_rate, find_shown_frame


class _TimedFrame(NamedTuple):
    pts: int
    frame: av.VideoFrame


@dataclass(frozen=True)
class _Break:
    """Where decoding ends before the video does: after the frame at ``pts`` (None: before any)."""

    pts: int | None
    seconds: float
    cause: Exception | None  # None: the stream has no frames

    def is_before(self, limit: int) -> bool:
        """Whether the frame shown at a timestamp lies beyond the break."""
        return self.pts is None or self.pts < limit

    def make_error(self, time: float) -> MediaError:
        """Explain why there is no frame at a time beyond the break."""
        if self.pts is None:
            reason = "corrupt" if self.cause else "no_video"
            return MediaError(reason, f"no frame of its video decodes{_explain(self.cause)}")
        return MediaError(
            "corrupt",
            f"the video breaks after {self.seconds:.3f} s, before the wanted {time:.3f} s"
            f"{_explain(self.cause)}",
        )


class SequentialReader:
    """Frames of a file's video, decoded in order from its beginning."""

    def __init__(self, file: MediaFile, clock: StreamClock, wrapper: FrameWrapper):
        self._file = file
        self._clock = clock
        self._wrapper = wrapper
        self._break: _Break | None = None  # None: not known, or there is none

    def read_first_frame(self) -> VideoFrame:
        """Return the first frame that decodes, damaged or not.

        Raises:
            MediaError: ``corrupt`` or ``no_video``.
        """
        with self._file.opened_again() as opening:
            for result in self._decode_all(opening):
                if isinstance(result, Exception):
                    raise MediaError("corrupt", f"no frame of its video decodes{_explain(result)}")
                return self._wrapper.wrap(result.frame)
        raise MediaError("no_video", "its video stream has no frames")

    def iter_frames(self, times: list[float]) -> Iterator[VideoFrame]:
        """Yield the frame shown at each time; ``times`` in seconds, ascending.

        Raises:
            MediaError: ``corrupt`` when decoding breaks before a time or its frame is damaged,
                ``no_video`` when nothing decodes.
        """
        limits = [self._clock.find_limit(time) for time in times]
        # Do not decode up to a known break once more.
        if self._break is not None and limits and self._break.is_before(limits[0]):
            raise self._break.make_error(times[0])

        with self._file.opened_again() as opening:
            yield from self._decode_until(opening, times, limits)

    def _decode_until(
        self, opening: Opening, times: list[float], limits: list[int]
    ) -> Iterator[VideoFrame]:
        num_given = 0  # of the times
        # The last frame decoded. Whether it is shown at a time is known once the next one is.
        current: _TimedFrame | None = None
        cause: Exception | None = None

        for result in self._decode_all(opening):
            if isinstance(result, Exception):
                cause = result
                break
            # A clock that runs back shows nothing new.
            if current is not None and result.pts <= current.pts:
                continue
            # The next frame is too late for these times, so they show the current one.
            while (
                current is not None
                and num_given < len(limits)
                and find_shown_frame((current.pts, result.pts), limits[num_given]) == current.pts
            ):
                yield self._check_and_wrap(current, times[num_given])
                num_given += 1
            if num_given == len(limits):
                return
            current = result

        # Remember the break: later times need not decode up to it again.
        if current is None:
            self._break = _Break(None, 0.0, cause)
        elif cause is not None:
            self._break = _Break(current.pts, self._clock.find_seconds(current.pts), cause)

        # After the end the last frame is shown, but not after a break.
        for time, limit in zip(times[num_given:], limits[num_given:], strict=True):
            if self._break is not None and self._break.is_before(limit):
                raise self._break.make_error(time)
            assert current is not None
            yield self._check_and_wrap(current, time)

    def _decode_all(self, opening: Opening) -> Iterator[_TimedFrame | Exception]:
        """Yield every frame of the video, then the error that ends it, if there is one."""
        stream = opening.video
        assert stream is not None
        packets = opening.container.demux(stream)
        timestamps = _TimestampRepair(opening, origin_seconds=self._clock.origin_seconds)
        last_dts = None

        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                if packet.dts is not None:
                    last_dts = packet.dts
                timestamps.note_packet(packet)
                # Of half a packet nothing is decoded, but what the decoder holds back comes out.
                is_cut = packet.is_corrupt
                frames = stream.codec_context.decode(None if is_cut else packet)
            except av.FFmpegError as error:
                yield error
                return

            for frame in frames:
                yield _TimedFrame(timestamps.find_timestamp(frame), frame)
            if is_cut:
                yield EOFError("the file is cut off")
                return

        # A file can be shorter than its index says without any packet being damaged.
        if has_lost_its_end(opening.container, stream, last_dts, is_cut_off=self._file.is_cut_off):
            yield EOFError("the file is cut off")

    def _check_and_wrap(self, current: _TimedFrame, time: float) -> VideoFrame:
        if current.frame.is_corrupt:
            raise MediaError("corrupt", f"the frame at {time:.3f} s is damaged")
        return self._wrapper.wrap(current.frame)


class _TimestampRepair:
    """Give timestamps to frames that have none or wrong ones.

    Frames without timestamps (all of raw H.264, those before zero of Matroska) are counted at the
    stream's rate. AVI has only decoding times: those of an AVI with reordered pictures are dealt
    out again in the order in which the pictures are shown.
    """

    def __init__(self, opening: Opening, *, origin_seconds: float):
        stream = opening.video
        assert stream is not None and stream.time_base is not None
        self._is_reordered_avi = is_reordered_avi(opening)
        self._decoding_times: collections.deque[int] = collections.deque()
        self._first_pts = round(origin_seconds / stream.time_base)
        self._ticks_per_frame = 1 / (stream.time_base * find_frame_rate(stream))
        self._num_frames = 0

    def note_packet(self, packet: av.Packet) -> None:
        """Keep the decoding time of a packet."""
        if self._is_reordered_avi and packet.size and packet.dts is not None:
            self._decoding_times.append(packet.dts)

    def find_timestamp(self, frame: av.VideoFrame) -> int:
        """Return the timestamp at which a frame is shown, and give it to the frame."""
        pts = self._decoding_times.popleft() if self._decoding_times else frame.pts
        if pts is None:
            pts = self._first_pts + int(self._num_frames * self._ticks_per_frame)
        self._num_frames += 1
        frame.pts = pts
        return pts


def is_reordered_avi(opening: Opening) -> bool:
    """Return whether FFmpeg makes wrong presentation times for the video.

    AVI has decoding times only. FFmpeg derives good presentation times from them for MPEG-4, wrong
    ones for H.264 and HEVC.
    """
    assert opening.video is not None
    context = opening.video.codec_context
    is_avi = opening.container.format.name == "avi"
    return is_avi and context.name in ("h264", "hevc") and context.has_b_frames


def _explain(error: Exception | None) -> str:
    return "" if error is None else f" ({getattr(error, 'strerror', None) or error})"
