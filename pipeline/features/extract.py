"""One pass over a clip for any set of features and moments: the file is opened once and its video decoded once."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from earshot.errors import MediaError
from pipeline.features.feature import Decoded, Extracted, Feature, Moment, Needs
from pipeline.media.reader import ClipReader, MediaInfo


def extract_features(
    path: Path | str, moments: Sequence[Moment], features: Sequence[Feature]
) -> Iterator[dict[str, Extracted]]:
    """Yield, for each moment in the order given, each feature's array or the reason why there is none.

    A failure of the file is the reason of all that it concerns and raises nothing: a clip without audio still has
    frames, and a break in the middle concerns the moments whose frames it takes. What a moment gets does not depend on
    the others. Frames are held only until the last moment that needs them.
    """
    num_given = 0
    try:
        with ClipReader(path) as reader:
            for extracted in _Pass(reader, moments, features).run():
                num_given += 1
                yield extracted
    except MediaError as error:
        failed = Extracted(None, reason=error.reason, detail=str(error))
        for _ in moments[num_given:]:
            yield {feature.name: failed for feature in features}


class _Pass:
    def __init__(self, reader: ClipReader, moments: Sequence[Moment], features: Sequence[Feature]):
        self._reader = reader
        self._features = features
        info: MediaInfo = reader.info
        self._moments = moments
        self._needs: list[list[Needs]] = [
            [feature.needs(moment, info) for feature in features] for moment in moments
        ]
        self._memos: list[dict] = [{} for _ in features]
        times = {time for needs in self._needs for need in needs for time in need.frame_times}
        self._times = sorted(times)
        self._frames = reader.iter_frames(self._times)
        self._num_read = 0
        self._held: dict[float, object] = {}
        self._errors: dict[float, MediaError] = {}  # by frame time

    def run(self) -> Iterator[dict[str, Extracted]]:
        # Moments are worked off as time goes on, and given out in the order asked for.
        order = sorted(range(len(self._moments)), key=self._last_time)
        first_needed = self._find_first_needed(order)
        done: dict[int, dict[str, Extracted]] = {}
        num_given = 0
        for position, index in enumerate(order):
            done[index] = self._extract_moment(index)
            keep_from = first_needed[position + 1]
            self._held = {time: frame for time, frame in self._held.items() if time >= keep_from}
            while num_given in done:
                yield done.pop(num_given)
                num_given += 1

    def _last_time(self, index: int) -> float:
        return max((time for need in self._needs[index] for time in need.frame_times), default=0.0)

    def _find_first_needed(self, order: list[int]) -> list[float]:
        """For each position in the order, the earliest frame time that it or a later one needs."""
        first = [float("inf")] * (len(order) + 1)
        for position in reversed(range(len(order))):
            times = [time for need in self._needs[order[position]] for time in need.frame_times]
            first[position] = min([first[position + 1], *times])
        return first

    def _read_until(self, time: float) -> None:
        while self._num_read < len(self._times) and self._times[self._num_read] <= time:
            try:
                self._held[self._times[self._num_read]] = next(self._frames)
            except MediaError as error:
                self._errors[self._times[self._num_read]] = error
                self._frames = self._reader.iter_frames(self._times[self._num_read + 1 :])
            self._num_read += 1

    def _extract_moment(self, index: int) -> dict[str, Extracted]:
        extracted = {}
        waveforms: dict = {}
        self._read_waveforms(index, waveforms)
        for feature, need, memo in zip(
            self._features, self._needs[index], self._memos, strict=True
        ):
            try:
                extracted[feature.name] = feature.compute(
                    self._moments[index], self._decode(need, memo, waveforms)
                )
            except MediaError as error:
                detail = str(error)
                if str(self._reader.path) not in detail:
                    detail = f"{self._reader.path}: {detail}"
                extracted[feature.name] = Extracted(None, reason=error.reason, detail=detail)
        return extracted

    def _read_waveforms(self, index: int, waveforms: dict) -> None:
        """Sound comes before pictures: a file that has given no frame yet need not be opened again for it."""
        for need in self._needs[index]:
            window = need.audio
            if window is not None and window not in waveforms:
                try:
                    waveforms[window] = self._reader.read_audio(
                        window.start_seconds, window.stop_seconds, sample_rate=window.sample_rate
                    )
                except MediaError as error:
                    waveforms[window] = error

    def _decode(self, need: Needs, memo: dict, waveforms: dict) -> Decoded:
        frames = []
        if need.frame_times:
            self._read_until(max(need.frame_times))
            for time in need.frame_times:
                if time in self._errors:
                    raise self._errors[time]
                frames.append(self._held[time])
        waveform = sample_rate = None
        if need.audio is not None:
            if isinstance(waveforms[need.audio], MediaError):
                raise waveforms[need.audio]
            waveform, sample_rate = waveforms[need.audio]
        return Decoded(frames, need.frame_times, waveform, sample_rate, memo)
