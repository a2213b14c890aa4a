"""Give frames the timestamps that their container does not give, or gives wrongly."""

import collections
from collections.abc import Iterable
from dataclasses import dataclass

import av
from av.container import InputContainer

from pipeline.media.files.container import iter_packets, open_container
from pipeline.media.files.media_file import Opening
from pipeline.media.files.timeline import find_frame_rate

# So many packets are read to find the first timestamp: they are stored in another order.
_NUM_FIRST_TIMES = 32


class TimestampRepair:
    """Give timestamps to frames that have none or wrong ones.

    Frames without timestamps are counted at the stream's rate: all of raw H.264 from the beginning,
    those before zero in Matroska so that they end where the first timestamp is. AVI has only
    decoding times. If its pictures are stored in another order than they are shown, the times are
    given to the pictures in the order of showing.
    """

    def __init__(self, opening: Opening, *, origin_seconds: float):
        """Begin at the start of a file.

        Args:
            opening: The file, with a video.
            origin_seconds: The time, by the file's own timestamps, that is the clip's zero.
        """
        stream = opening.video
        assert stream is not None and stream.time_base is not None
        self._stream = stream
        # Whether frames keep their times where others before them are lost.
        self.can_skip = not is_reordered_avi(opening)
        self._decoding_times: collections.deque[int] = collections.deque()
        self._first_pts = round(origin_seconds / stream.time_base)
        self._ticks_per_frame = 1 / (stream.time_base * find_frame_rate(stream))
        self._num_frames = 0

    def note_packet(self, packet: av.Packet) -> None:
        """Keep the decoding time of a packet."""
        if not self.can_skip and packet.size and packet.dts is not None:
            self._decoding_times.append(packet.dts)

    def find_timestamp(self, frame: av.VideoFrame) -> int:
        """Return the timestamp at which a frame is shown, and give it to the frame."""
        # The next decoding time in order is that of the next picture shown (`is_reordered_avi`).
        pts = self._decoding_times.popleft() if self._decoding_times else frame.pts
        if pts is None:
            if self._num_frames == 0:
                self._count_to_first_timestamp()
            pts = self._first_pts + int(self._num_frames * self._ticks_per_frame)

        self._num_frames += 1
        frame.pts = pts
        return pts

    def _count_to_first_timestamp(self) -> None:
        """Let counted frames end where the first timestamp is, if Matroska has some behind them."""
        container = self._stream.container
        assert isinstance(container, InputContainer)
        if not container.format.name.startswith("matroska"):
            return

        num_untimed = 0
        times: list[int] = []
        with open_container(container.name) as fresh:
            for packet in iter_packets(fresh, fresh.streams[self._stream.index]):
                if packet.pts is None:
                    num_untimed += packet.size > 0
                elif len(times) < _NUM_FIRST_TIMES:
                    times.append(packet.pts)
                else:
                    break
        if times:
            self._first_pts = min(times) - round(num_untimed * self._ticks_per_frame)


def is_reordered_avi(opening: Opening) -> bool:
    """Return whether FFmpeg makes wrong presentation times for the video.

    AVI has decoding times only. FFmpeg derives presentation times from them: right ones for MPEG-4,
    wrong ones for H.264 and HEVC.
    """
    assert opening.video is not None
    context = opening.video.codec_context
    is_avi = opening.container.format.name == "avi"
    return is_avi and context.name in ("h264", "hevc") and context.has_b_frames


@dataclass(frozen=True)
class ShownTimes:
    """When the pictures of an AVI that reorders them are shown, in ticks from the first one."""

    # By the number that FFmpeg gives their packets, which is their place in the file.
    shown_at: dict[int, int]
    # A picture must be decoded before it is shown. One delay for all keeps the decoding order.
    delay: int

    @classmethod
    def from_frames(cls, frames: Iterable[av.VideoFrame]) -> "ShownTimes":
        """Find the times from all pictures, decoded in order: the order in which they are shown."""
        counts = [frame.pts for frame in frames if frame.pts is not None]
        if not counts:
            return cls({}, 0)

        times = [count - min(counts) for count in sorted(counts)]
        shown_at = dict(zip(counts, times, strict=True))
        return cls(shown_at, max(count - time for count, time in shown_at.items()))

    def set_times(self, packet: av.Packet) -> bool:
        """Give a packet its times; returns whether it has a picture that is shown."""
        if packet.pts not in self.shown_at:
            return False
        packet.dts = packet.pts - self.delay
        packet.pts = self.shown_at[packet.pts]
        return True
