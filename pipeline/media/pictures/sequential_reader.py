"""Read frames by decoding a video from its beginning: slow, and right for every file.

`FrameReader` uses it when it cannot start at a keyframe: packets without timestamps, errors of the
decoder, containers that seek too far. The result of this module is right by definition.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from earshot.errors import MediaError
from pipeline.media.files.media_file import MediaFile
from pipeline.media.files.timeline import StreamClock
from pipeline.media.pictures.frame import FrameWrapper, VideoFrame
from pipeline.media.pictures.whole_decode import (
    Damage,
    TimedFrame,
    WholeDecode,
    decode_first_frame,
    explain,
)


@dataclass(frozen=True)
class _Gap:
    """A range of timestamps, [start, stop), whose pictures are lost."""

    start: int | None  # None: nothing was whole before
    stop: int | None  # None: nothing is whole behind it
    # When the last whole picture before it is shown.
    last_seconds: float = field(compare=False)
    damage: Damage | None = field(compare=False)  # None: the stream has no frames

    def contains(self, limit: int) -> bool:
        """Return whether the frame shown at a timestamp is among the lost ones."""
        is_behind_start = self.start is None or limit >= self.start
        return is_behind_start and (self.stop is None or limit < self.stop)

    def make_error(self, time: float, clock: StreamClock) -> MediaError:
        """Explain why there is no frame at a time within the gap."""
        if self.damage is None:
            return MediaError("no_video", "no frame of its video decodes")

        why = explain(self.damage.cause)
        if self.stop is None and self.start is None:
            return MediaError("corrupt", f"no frame of its video decodes{why}")
        if self.stop is None:
            return MediaError(
                "corrupt",
                f"the video breaks after {self.last_seconds:.3f} s, before the wanted "
                f"{time:.3f} s{why}",
            )

        start_seconds = 0.0 if self.start is None else clock.find_seconds(self.start)
        return MediaError(
            "corrupt",
            f"the video is damaged from {start_seconds:.3f} s to "
            f"{clock.find_seconds(self.stop):.3f} s, where the wanted {time:.3f} s is{why}",
        )


class SequentialReader:
    """Frames of a file's video, decoded in order from its beginning."""

    def __init__(self, file: MediaFile, clock: StreamClock, wrapper: FrameWrapper):
        self._file = file
        self._clock = clock
        self._wrapper = wrapper
        # The gaps found so far. Times within them need no decoding any more.
        self._gaps: list[_Gap] = []

    def read_first_frame(self) -> VideoFrame:
        """Return the first frame that decodes, damaged or not.

        Raises:
            MediaError: ``corrupt`` or ``no_video``.
        """
        with self._file.opened_again() as opening:
            frame = decode_first_frame(
                opening,
                origin_seconds=self._clock.origin_seconds,
                aspects=self._wrapper.aspects,
            )
            return self._wrapper.wrap(frame)

    def iter_frames(self, times: list[float]) -> Iterator[VideoFrame]:
        """Yield the frame shown at each time; ``times`` in seconds, ascending.

        Raises:
            MediaError: ``corrupt`` when the frame of a time is damaged or lost, ``no_video`` when
                nothing decodes.
        """
        if times:
            # Times ascend. If the first one lies in a gap, no frame comes before the error.
            self._refuse_known_gaps(times[0])
        with self._file.opened_again() as opening:
            items = WholeDecode(
                opening,
                origin_seconds=self._clock.origin_seconds,
                is_cut_off=self._file.is_cut_off,
                damaged=self._file.damaged_pictures,
                aspects=self._wrapper.aspects,
            )
            yield from self._find_shown(iter(items), times)

    def _refuse_known_gaps(self, time: float) -> None:
        limit = self._clock.find_limit(time)

        for gap in self._gaps:
            if gap.contains(limit):
                raise gap.make_error(time, self._clock)

    def _find_shown(
        self, items: Iterator[TimedFrame | Damage], times: list[float]
    ) -> Iterator[VideoFrame]:
        """Yield the frame shown at each time, of all frames of a video in order."""
        waiting = iter([(time, self._clock.find_limit(time)) for time in times])
        time, limit = next(waiting, (0.0, None))

        # The last frame. Whether it is shown at a time is known once the next one is.
        current: TimedFrame | None = None
        damage: Damage | None = None  # between the last frame and the next one

        while limit is not None:
            item = next(items, None)
            if isinstance(item, Damage):
                damage = damage or item
                continue
            # A frame whose clock runs back shows nothing new.
            if item is not None and current is not None and item.pts <= current.pts:
                continue

            gap = self._find_gap(current, damage, item)
            # The next frame is too late for these times. After the end the last one is shown.
            while limit is not None and (item is None or limit < item.pts):
                if gap is not None and gap.contains(limit):
                    raise gap.make_error(time, self._clock)
                # Before the first frame, the first frame is shown.
                shown = current or item
                assert shown is not None
                yield self._wrapper.wrap(shown.frame)
                time, limit = next(waiting, (0.0, None))
            current, damage = item, None

    def _find_gap(
        self, current: TimedFrame | None, damage: Damage | None, item: TimedFrame | None
    ) -> _Gap | None:
        """Return and remember what is lost between two frames; None: nothing."""
        if damage is None and (current is not None or item is not None):
            return None

        gap = _Gap(
            None if damage is None or current is None else damage.first,
            None if item is None else item.pts,
            0.0 if current is None else self._clock.find_seconds(current.pts),
            damage,
        )

        if gap not in self._gaps:
            self._gaps.append(gap)
        return gap
