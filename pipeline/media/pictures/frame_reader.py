"""Read the frames that a clip shows at given times, decoding as little as possible.

Frames equal those of a full decode, bit for bit. There are two ways to them:

- The quick way seeks to the last keyframe before the wanted frame and decodes from there
  (`PacketRun`). It gives up rather than guess.
- The sure way decodes from the beginning of the file (`SequentialReader`). It reads the frames that
  the quick way gave up.

A GPU may decode the quick way. Where it fails, the CPU goes on, by both ways.

What "shown at a time" means is defined in `timeline.py`.
"""

import errno
from collections.abc import Iterator, Sequence

import av

from earshot.errors import MediaError
from pipeline.media.files.configuration import may_change_configuration
from pipeline.media.files.container import has_dropped_frames, seeks_to_packets
from pipeline.media.files.media_file import MediaFile, Opening
from pipeline.media.files.timeline import StreamClock
from pipeline.media.pictures.frame import FrameWrapper, VideoFrame
from pipeline.media.pictures.gpu import Decoder, can_decode, is_convertible, make_accelerator
from pipeline.media.pictures.packet_run import PacketRun, PlanFailedError
from pipeline.media.pictures.sequential_reader import SequentialReader
from pipeline.media.pictures.timestamps import is_reordered_avi

# If the next wanted time is farther away, seek to it; otherwise read on to it.
_SEEK_GAP_SECONDS = 20.0
# Some containers seek late. Then the target is moved back, farther each time.
_BACK_OFF_SECONDS = (0.0, 1.0, 4.0, 16.0)


class FrameReader:
    """Frames of a file's video.

    Args:
        file: The file.
        decoder: What decodes where it can; the CPU decodes the rest.
    """

    def __init__(self, file: MediaFile, decoder: Decoder = "cpu"):
        stream = file.main.video
        assert stream is not None

        self._file = file
        self._opening = file.main  # replaced where the file's beginning is needed
        self._clock = StreamClock.from_stream(stream, origin_seconds=file.origin_seconds)
        self._wrapper = FrameWrapper(stream, self._clock)
        self._sequential = SequentialReader(file, self._clock, self._wrapper)
        self._must_begin_at_start = _must_begin_at_start(file)
        self._can_seek = seeks_to_packets(file.main.container)
        self._is_on_gpu = decoder == "cuda" and can_decode(stream) and not self._must_begin_at_start

    def iter_frames(self, times: Sequence[float]) -> Iterator[VideoFrame]:
        """Yield the frame shown at each time.

        Args:
            times: Seconds on the clip's timeline, ascending.

        Yields:
            One frame a time. Whether a time has a frame does not depend on the other times.

        Raises:
            MediaError: ``corrupt`` when decoding breaks before a time, ``no_video`` when nothing
                decodes.
        """
        if self._is_on_gpu and self._opening is self._file.main:
            self._opening = self._open_again()
        self._opening.is_reading_frames = True
        times = list(times)

        num_done = 0
        while num_done < len(times):
            try:
                for frame in self._iter_quickly(times[num_done:]):
                    num_done += 1
                    yield frame
            except PlanFailedError as error:
                # Damage, or a stream that the GPU cannot decode. The CPU can tell.
                if self._is_on_gpu:
                    self._leave_gpu()
                    continue

                # The decoder's error may concern a part that only a later time needs.
                alone = self._read_alone(times[num_done])
                if alone is not None:
                    num_done += 1
                    yield alone
                    continue

                for frame in self._iter_surely(times[num_done:], cause=error):
                    num_done += 1
                    yield frame

    def read_first_frame(self) -> VideoFrame:
        """Return the first frame that decodes, damaged or not."""
        return self._sequential.read_first_frame()

    def _iter_surely(self, times: list[float], *, cause: Exception) -> Iterator[VideoFrame]:
        """Yield frames decoded from the beginning, for as many times as that reaches.

        Raises MediaError when it reaches not even the first time.
        """
        num_done = 0
        try:
            for frame in self._sequential.iter_frames(times):
                num_done += 1
                yield frame
        except MediaError as error:
            # After a break there may be a keyframe, from which the quick way can begin.
            # But where not even the first time was reached, the caller has tried that already.
            alone = self._read_alone(times[num_done]) if num_done > 0 else None
            if alone is None:
                raise error from cause
            yield alone

    def _read_alone(self, time: float) -> VideoFrame | None:
        """Return the frame at one time by the quick way, or None where that gives up."""
        try:
            return next(self._iter_quickly([time]))
        except PlanFailedError:
            return None

    def _iter_quickly(self, times: list[float]) -> Iterator[VideoFrame]:
        if self._must_begin_at_start:
            raise PlanFailedError

        run: PacketRun | None = None
        for index, time in enumerate(times):
            limit = self._clock.find_limit(time)
            # A far time gets a run of its own. First take the frames that the old run still holds.
            is_far = index > 0 and time - times[index - 1] > _SEEK_GAP_SECONDS
            if run is None or (is_far and self._can_seek):
                if run is not None:
                    yield from map(self._wrap, run.finish())
                run = self._start_run(limit)

            try:
                run.want(limit)
                yield from map(self._wrap, run.iter_ready())
            except av.FFmpegError as error:
                raise PlanFailedError from error

        if run is not None:
            yield from map(self._wrap, run.finish())

    def _wrap(self, frame: av.VideoFrame) -> VideoFrame:
        if not self._is_on_gpu:
            return self._wrapper.wrap(frame)

        stream = self._file.main.video
        assert stream is not None
        # FFmpeg does not cut the left and the top off a picture of the GPU.
        size = (stream.codec_context.width, stream.codec_context.height)
        if not is_convertible(frame) or (frame.width, frame.height) != size:
            raise PlanFailedError
        return self._wrapper.wrap(frame, is_from_gpu=True)

    def _leave_gpu(self) -> None:
        """Let the CPU decode from now on."""
        self._is_on_gpu = False
        self._opening = self._open_again()
        self._opening.is_reading_frames = True

    def _open_again(self) -> Opening:
        if not self._is_on_gpu:
            return self._file.open_again()
        try:
            return self._file.open_again(accelerator=make_accelerator())
        except RuntimeError:  # this PyAV has no decoder of this codec for a GPU
            self._is_on_gpu = False
            return self._file.open_again()
        except av.FFmpegError as error:
            # The CPU has opened the file, so the GPU is to blame: its memory is full, for example.
            words = f"the GPU cannot be used ({error.strerror})"
            raise OSError(errno.ENOMEM, words, str(self._file.path)) from error

    def _start_run(self, limit: int) -> PacketRun:
        """Begin at the keyframe before a timestamp, or at the file's beginning."""
        stream = self._opening.video
        assert stream is not None and stream.time_base is not None
        for back_off_seconds in _BACK_OFF_SECONDS if self._can_seek else ():
            target = limit - int(back_off_seconds / stream.time_base)
            if target <= (stream.start_time or 0):
                break

            run = self._begin_at(target)
            # Some containers seek to a place behind the wanted frame.
            if run.begins_by(limit):
                return run
        return self._begin_at(None)

    def _begin_at(self, target: int | None) -> PacketRun:
        """Begin a run at the keyframe before a timestamp; None: at the file's beginning."""
        # Some containers cannot seek to their exact beginning: only a file that was just opened is
        # at its beginning.
        if target is None and self._opening.is_touched:
            self._opening = self._open_again()
        self._opening.is_touched = True

        container, stream = self._opening.container, self._opening.video
        assert stream is not None
        try:
            if target is not None:
                # The decoder may hold pictures of the run before.
                stream.codec_context.flush_buffers()
                container.seek(target, stream=stream, backward=True)
            return PacketRun(
                container,
                stream,
                aspects=self._wrapper.aspects,
                is_start=target is None,
                is_cut_off=self._file.is_cut_off,
            )
        except av.FFmpegError as error:
            raise PlanFailedError from error


def _must_begin_at_start(file: MediaFile) -> bool:
    """Return whether a video can never be entered in the middle."""
    opening = file.main
    assert opening.video is not None
    # A palette comes with a packet. A decoder that begins after this packet has no palette.
    has_palette = opening.video.codec_context.pix_fmt == "pal8"
    return (
        has_palette
        or is_reordered_avi(opening)
        or has_dropped_frames(opening.container, opening.video)
        or len(file.damaged_pictures) > 0
        or may_change_configuration(file.path, opening.video)
    )
