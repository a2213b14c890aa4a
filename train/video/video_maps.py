"""Compute the maps of a video over time, and keep them in a file."""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from earshot.errors import MediaError
from earshot.files import publish
from pipeline.base.progress import Progress
from pipeline.features.extract import extract_features
from pipeline.features.feature import Extracted, Feature, Moment
from train.data.collate import collate
from train.inference.predictor import Predictor

_BATCH_SIZE = 8


def iter_maps(
    predictor: Predictor, features: Sequence[Feature], path: Path, times: Iterable[float]
) -> Iterator[np.ndarray | Extracted]:
    """Compute the map at each time of a video.

    Args:
        predictor: Of the model.
        features: What the model reads.
        path: Of the video.
        times: In seconds from its beginning.

    Yields:
        For each time, in order, the map (h, w), float32. Where a feature cannot be computed, that
        feature's ``Extracted``, which has the reason.
    """
    moments = [Moment(f"{time:.3f} s", float(time)) for time in times]

    batch: list[dict[str, Extracted]] = []
    for extracted in extract_features(path, moments, features):
        batch.append(extracted)
        if len(batch) == _BATCH_SIZE:
            yield from _iter_batch(predictor, batch)
            batch = []
    yield from _iter_batch(predictor, batch)


def _iter_batch(
    predictor: Predictor, batch: Sequence[dict[str, Extracted]]
) -> Iterator[np.ndarray | Extracted]:
    """Yield the map of each moment, or the first feature that has no array."""
    failures = [
        next((one for one in extracted.values() if one.array is None), None) for extracted in batch
    ]
    complete = [
        extracted for extracted, failure in zip(batch, failures, strict=True) if failure is None
    ]

    maps = iter(_predict(predictor, complete) if complete else ())
    # Maps and failures in the order of the moments.
    for failure in failures:
        yield next(maps) if failure is None else failure


def _predict(predictor: Predictor, extracted: Sequence[dict[str, Extracted]]) -> np.ndarray:
    arrays: dict[str, list] = {
        name: [one[name].array for one in extracted] for name in extracted[0]
    }
    native_heights = None
    if "flow" in arrays:
        native_heights = [one["flow"].attributes["native_height"] for one in extracted]

    ids = [str(index) for index in range(len(extracted))]
    return predictor.localize(collate(arrays, ids=ids, native_heights=native_heights))


class MapRecorder:
    """Write maps to a file while they pass, so that memory does not grow with the video.

    Args:
        path: Temporary file for the maps.
        num_times: Number of maps to expect.

    Attributes:
        num_maps: How many maps there were.
        first_failure: The first time without a map, with the reason; None while there is none.
    """

    def __init__(self, path: Path, num_times: int):
        self.num_maps = 0
        self.first_failure: Extracted | None = None
        self._path, self._num_times = path, num_times
        self._array: np.memmap | None = None  # opened when the first map shows its shape

    def record(
        self, maps: Iterator[np.ndarray | Extracted], progress: Progress
    ) -> Iterator[np.ndarray | None]:
        """Yield each map, or None where there is none; the file then holds NaN.

        Args:
            maps: float (h, w) each, or the failure of its frame.
            progress: counts the frames.
        """
        for index, value in enumerate(maps):
            if isinstance(value, Extracted):
                self.first_failure = self.first_failure or value
                # The file is made with the first map, whose shape it needs.
                if self._array is not None:
                    self._array[index] = np.nan
                progress.update(num_failed=1)
                yield None
                continue

            if self._array is None:
                shape = (self._num_times, *value.shape)
                # An array that lies in a file, so that the maps of hours need no memory.
                self._array = np.lib.format.open_memmap(
                    self._path, mode="w+", dtype=np.float32, shape=shape
                )
                # The times before had no map.
                self._array[:index] = np.nan
            self._array[index] = value
            self.num_maps += 1
            progress.update()
            yield value

    def make_error(self, path: Path) -> MediaError:
        """Return the error for a video ``path`` that has no map: the reason of the first time."""
        assert self.first_failure is not None and self.first_failure.reason is not None
        reason, detail = self.first_failure.reason, self.first_failure.detail
        return MediaError(reason, f"{path}: no map at any time: {detail}")

    def publish(self, path: Path, **others: np.ndarray) -> None:
        """Write the npz file ``path`` with ``maps`` (n, h, w) and the other arrays."""
        assert self._array is not None, "there is no map"
        self._array.flush()
        self._array = None

        # np.savez would read all maps into memory.
        with (
            publish(path) as temporary_path,
            zipfile.ZipFile(temporary_path, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            archive.write(self._path, "maps.npy")
            for name, array in others.items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, np.asanyarray(array))
