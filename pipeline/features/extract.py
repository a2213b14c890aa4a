"""One pass over a clip for any features and moments: open the file once, decode its video once."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from earshot.errors import MediaError
from pipeline.features.feature import AudioWindow, Decoded, Extracted, Feature, Moment, Needs
from pipeline.media.pictures.frame import VideoFrame
from pipeline.media.pictures.gpu import Decoder, require_gpu
from pipeline.media.reader import ClipReader
from pipeline.media.sound.audio_reader import SoundWindow

# The sound of each window of a moment, or the error that reading it gave.
_Sounds = dict[AudioWindow, SoundWindow | MediaError]


def prepare_features(features: Sequence[Feature]) -> None:
    """Prepare this process, once, for computing features.

    Raises:
        EarshotError: They cannot be computed here: there is no GPU, for example.
    """
    if any(feature.decoder == "cuda" for feature in features):
        require_gpu()
    for prepare in {feature.prepare for feature in features if feature.prepare is not None}:
        prepare()


def extract_features(
    path: Path | str, moments: Sequence[Moment], features: Sequence[Feature]
) -> Iterator[dict[str, Extracted]]:
    """Compute features of a clip at some moments.

    A failure of the file concerns only what needs the failing part, and raises nothing. A clip
    without sound still has frames; a break in the middle concerns the moments whose frames it
    takes. The result of a moment does not depend on the other moments.

    Args:
        path: The media file.
        moments: In any order. Frames are held until the last moment that needs them.
        features: Each must have ``can_compute``.

    Yields:
        For each moment, in the order given: by feature name, the array or the reason why there is
        none.
    """
    # Usually all features have one decoder. Each decoder has a pass of its own.
    passes = [
        _extract(path, moments, [one for one in features if one.decoder == decoder], decoder)
        for decoder in dict.fromkeys(feature.decoder for feature in features)
    ]
    for parts in zip(*passes, strict=True):
        yield {name: extracted for part in parts for name, extracted in part.items()}


def _extract(
    path: Path | str, moments: Sequence[Moment], features: Sequence[Feature], decoder: Decoder
) -> Iterator[dict[str, Extracted]]:
    num_yielded = 0
    try:
        with ClipReader(path, decoder=decoder) as reader:
            for extracted in _Pass(reader, moments, features).run():
                num_yielded += 1
                yield extracted
    except MediaError as error:
        # The file as a whole cannot be read. All moments that are left have the same reason.
        failed = Extracted(None, reason=error.reason, detail=str(error))
        for _ in moments[num_yielded:]:
            yield {feature.name: failed for feature in features}


class _Pass:
    """The state of one pass: what is needed, which frames are held, which could not be read."""

    def __init__(self, reader: ClipReader, moments: Sequence[Moment], features: Sequence[Feature]):
        self._reader = reader
        self._features = features
        self._moments = moments
        # A dict for each feature, where it keeps what overlapping moments share, such as a pair's
        # flow.
        self._memos: list[dict] = [{} for _ in features]

        self._needs: list[list[Needs]] = [
            [feature.needs(moment, reader.info) for feature in features] for moment in moments
        ]
        # Features and moments often need the same frame. Each time is listed once.
        times = {time for needs in self._needs for need in needs for time in need.frame_times}
        self._times = sorted(times)

        self._frames = reader.iter_frames(self._times)
        self._num_read = 0  # of self._times
        self._held: dict[float, VideoFrame] = {}  # by frame time
        self._errors: dict[float, MediaError] = {}  # by frame time

    def run(self) -> Iterator[dict[str, Extracted]]:
        """Yield the results of each moment, in the caller's order."""
        # Frames come in order of time, so the moments are computed in that order as well.
        order = sorted(range(len(self._moments)), key=self._find_last_time)
        first_needed = self._find_first_needed(order)

        finished: dict[int, dict[str, Extracted]] = {}
        num_yielded = 0
        for position, index in enumerate(order):
            finished[index] = self._extract_moment(index)

            # Drop the frames that no later moment needs.
            keep_from = first_needed[position + 1]
            self._held = {time: frame for time, frame in self._held.items() if time >= keep_from}

            # Results go out in the caller's order.
            while num_yielded in finished:
                yield finished.pop(num_yielded)
                num_yielded += 1

    def _find_last_time(self, index: int) -> float:
        return max((time for need in self._needs[index] for time in need.frame_times), default=0.0)

    def _find_first_needed(self, order: list[int]) -> list[float]:
        """Find, for each position in the order, the earliest frame time from there on."""
        first = [float("inf")] * (len(order) + 1)
        for position in reversed(range(len(order))):
            times = [time for need in self._needs[order[position]] for time in need.frame_times]
            # A moment without frames has no times, and takes the value of the one after it.
            first[position] = min([first[position + 1], *times])
        return first

    def _read_until(self, time: float) -> None:
        while self._num_read < len(self._times) and self._times[self._num_read] <= time:
            try:
                self._held[self._times[self._num_read]] = next(self._frames)
            except MediaError as error:
                # Later frames may be readable: a keyframe can follow the damage.
                self._errors[self._times[self._num_read]] = error
                # An iterator ends with its error. A new one begins behind the frame that failed.
                self._frames = self._reader.iter_frames(self._times[self._num_read + 1 :])
            self._num_read += 1

    def _extract_moment(self, index: int) -> dict[str, Extracted]:
        extracted = {}
        sounds = self._read_sounds(index)

        for feature, need, memo in zip(
            self._features, self._needs[index], self._memos, strict=True
        ):
            assert feature.compute is not None, f"{feature.name} cannot be computed here"
            try:
                decoded = self._decode(need, memo, sounds)
                extracted[feature.name] = feature.compute(self._moments[index], decoded)
            except MediaError as error:
                # Errors of a computation do not name the file; those of the reader do.
                detail = str(error)
                if str(self._reader.path) not in detail:
                    detail = f"{self._reader.path}: {detail}"
                extracted[feature.name] = Extracted(None, reason=error.reason, detail=detail)
        return extracted

    def _read_sounds(self, index: int) -> _Sounds:
        """Read the sound of a moment, before its frames.

        The reader opens a file again for sound once it has given frames; in this order the first
        moment costs one opening.
        """
        sounds: _Sounds = {}
        for need in self._needs[index]:
            window = need.audio
            # Features with the same window share one reading.
            if window is None or window in sounds:
                continue

            try:
                sounds[window] = self._reader.read_audio_window(
                    window.start_seconds, window.stop_seconds, sample_rate=window.sample_rate
                )
            except MediaError as error:
                # Keep the error: it concerns only the features that need this window.
                sounds[window] = error
        return sounds

    def _decode(self, need: Needs, memo: dict, sounds: _Sounds) -> Decoded:
        frames = []
        if need.frame_times:
            # Frames come in order of time: whoever reads up to the last has read them all.
            self._read_until(max(need.frame_times))
            # A frame that failed is an error for each moment that needs it, not only for the first.
            for time in need.frame_times:
                if time in self._errors:
                    raise self._errors[time]
                frames.append(self._held[time])

        if need.audio is None:
            return Decoded(frames, need.frame_times, None, None, memo=memo)

        sound = sounds[need.audio]
        if isinstance(sound, MediaError):
            raise sound
        return Decoded(
            frames,
            need.frame_times,
            sound.waveform,
            sound.sample_rate,
            sound_start_seconds=sound.start_seconds,
            memo=memo,
        )
