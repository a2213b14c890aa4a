"""Maps of other systems as entrants: ``evaluate.external: {name: path}`` in params.yaml.

A path is an ``.npz`` file (see ``eval.entrants.maps``), or a folder with a file for each sample:
``<sample id>.npy``, or ``<sample id>.png`` of grey levels. Sizes may differ from sample to sample.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from earshot.errors import DataError, ParameterError
from earshot.reader import FeatureReader
from eval.entrants.entrant import Entrant
from eval.entrants.maps import (
    Maps,
    SelectedMaps,
    SummedMaps,
    read_features,
    read_maps,
    to_float32,
)
from pipeline.base.parameters import suggest

_SUFFIXES = (".npy", ".png")
# 8 and 16 bits, black and white, floating point: one number a pixel.
_GREY_MODES = ("L", "I", "I;16", "I;16B", "1", "F")
# The name is a file's name in cache/maps, and stands in tables.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+()-]*")
_LONGEST_NAME = 200  # a file system takes 255, with the suffix and the mark of a temporary file


@dataclass(frozen=True)
class ExternalMaps:
    """The maps of another system: ``sample_ids`` (n,) and as many maps, read when asked for."""

    name: str
    path: Path
    sample_ids: Sequence[str]
    maps: Maps
    # Of systems that tell sources apart: (k, h, w) a sample. ``maps`` are then their sums.
    source_maps: Maps | None = None
    features: tuple[np.ndarray, np.ndarray] | None = None  # of frames and of sounds, (n, c)

    def select(self, sample_ids: Sequence[str]) -> Maps:
        """Return the maps of these samples, which must be among ``sample_ids``, in their order."""
        return SelectedMaps(self.maps, self._find_positions(sample_ids))

    def select_sources(self, sample_ids: Sequence[str]) -> Maps:
        """Return the maps of all sources of these samples."""
        assert self.source_maps is not None
        return SelectedMaps(self.source_maps, self._find_positions(sample_ids))

    def select_features(self, sample_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of the frames and of the sounds of these samples."""
        assert self.features is not None
        positions = self._find_positions(sample_ids)
        frames, sounds = self.features
        return frames[positions], sounds[positions]

    def _find_positions(self, sample_ids: Sequence[str]) -> list[int]:
        position_of = {sample_id: i for i, sample_id in enumerate(self.sample_ids)}
        return [position_of[sample_id] for sample_id in sample_ids]


class _MapFiles:
    """A file a map, each read when it is asked for."""

    def __init__(self, paths: Sequence[Path]):
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, position: int, /) -> np.ndarray:
        return read_map_file(self._paths[position])


def check_external(external: Mapping[str, str], *, taken: Iterable[str], root: Path) -> None:
    """Check names and paths of ``evaluate.external``, before anything is read.

    Args:
        external: name -> path.
        taken: names of runs and baselines.
        root: where relative paths begin.

    Raises:
        ParameterError: a name is taken or no file's name, or there is nothing at a path.
    """
    names = set(taken)
    for name, path in external.items():
        where = f"params: evaluate.external.{name}"
        # The name becomes that of a file. Windows drops a space or a dot at the end of one.
        if not _NAME.fullmatch(name) or name.endswith((" ", ".")) or len(name) > _LONGEST_NAME:
            raise ParameterError(
                f"params: evaluate.external has the name {name!r}, expected letters, digits, "
                f"spaces and . _ + ( ) -, at most {_LONGEST_NAME} of them"
            )
        if name in names:
            raise ParameterError(f"{where}: another model or baseline has this name; rename it")
        found = find_path(path, root)
        if not path.strip() or not found.exists():
            raise ParameterError(
                f"{where} is {path!r}, and there is no such file or folder; expected an .npz file "
                "with sample_ids and maps, or a folder of <sample id>.npy or .png"
            )
        if found.is_file() and found.suffix.lower() != ".npz":
            raise ParameterError(
                f"{where} is {path!r}, expected an .npz file with sample_ids and maps, or a folder"
            )


def find_path(path: str, root: Path) -> Path:
    """Return where a file of ``evaluate.external`` is.

    Args:
        path: as in params.yaml; it may begin with ``~``.
        root: where a relative path begins: the checkout.
    """
    return root / os.path.expanduser(path)


def read_external(path: Path, *, name: str = "") -> ExternalMaps:
    """Read an ``.npz`` file, or list the maps of a folder.

    Args:
        path: of the file or the folder.
        name: in the tables; default: that of the file or folder.

    Returns:
        The maps and their sample ids. A map of a folder is read when it is needed.

    Raises:
        DataError: the file has another form, or the folder has no map or two of one sample.
    """
    name = name or path.stem
    if not path.is_dir():
        sample_ids, maps = read_maps(path, with_sources=True)
        features = read_features(path)
        # (n, k, h, w): a map for each of k sources. Most metrics see their sum.
        if maps.ndim == 4:
            return ExternalMaps(name, path, sample_ids, SummedMaps(maps), maps, features)
        return ExternalMaps(name, path, sample_ids, maps, features=features)

    files = sorted(
        found for found in path.iterdir() if found.is_file() and not found.name.startswith(".")
    )
    paths = [found for found in files if found.suffix.lower() in _SUFFIXES]
    if not paths:
        raise DataError(
            f"{path}: none of its {len(files)} files is a map, expected <sample id>.npy or .png"
        )

    # A suffix is cut once: ids may have dots.
    sample_ids = [found.name[: -len(found.suffix)] for found in paths]
    repeated = [sample_id for sample_id, count in Counter(sample_ids).items() if count > 1]
    if repeated:
        raise DataError(
            f"{path}: sample {repeated[0]} has two files ({len(repeated)} such ids), expected one"
        )
    return ExternalMaps(name, path, sample_ids, _MapFiles(paths))


def read_map_file(path: Path) -> np.ndarray:
    """Read one map, ``(h, w)`` float32; larger = more likely.

    Raises:
        DataError: the file is damaged, or holds something else.
    """
    array = _read_array(path) if path.suffix.lower() == ".npy" else _read_picture(path)
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(f"{path}: has shape {array.shape}, expected (height, width)")
    # Floating point, signed, unsigned, boolean; not text, complex numbers or objects.
    if array.dtype.kind not in "fiub":
        raise DataError(f"{path}: holds {array.dtype}, expected numbers")
    return to_float32(array[None], names=[f"{path}: the map"])[0]


def _read_array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        reason = "it holds Python objects" if "pickle" in str(error) else "it is damaged"
        raise DataError(f"{path}: not a readable .npy file: {reason}") from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: holds several arrays, expected one map")
    return array


def _read_picture(path: Path) -> np.ndarray:
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            # Which of the colours would be "more likely" nobody could say.
            if picture.mode not in _GREY_MODES:
                raise DataError(
                    f"{path}: is a picture of mode {picture.mode}, expected grey levels: a colour "
                    "is no likelihood"
                )
            picture.load()
            return np.asarray(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise DataError(f"{path}: not a readable PNG") from None


def make_external(external: ExternalMaps, ids_of: Mapping[str, Sequence[str]]) -> Entrant:
    """Make the entrant of foreign maps.

    It takes part on the datasets whose samples it has.

    Args:
        external: the maps.
        ids_of: dataset -> its sample ids.

    Returns:
        An entrant that needs no feature and has maps of its own samples only.

    Raises:
        DataError: a map belongs to no sample of these datasets.
    """
    known = set().union(*ids_of.values())
    unknown = [sample_id for sample_id in external.sample_ids if sample_id not in known]
    if unknown:
        raise DataError(
            f"evaluate.external.{external.name} ({external.path}): {unknown[0]!r} is no sample of "
            f"{', '.join(ids_of)} ({len(unknown)} of {len(external.sample_ids)} such ids)"
            f"{suggest(unknown[0], known)}"
        )

    own_ids = set(external.sample_ids)

    def predict(sample_ids: Sequence[str], readers: Mapping[str, FeatureReader], /) -> Maps:
        return external.select(sample_ids)

    def predict_sources(sample_ids: Sequence[str], readers: Mapping[str, FeatureReader], /) -> Maps:
        return external.select_sources(sample_ids)

    def embed(
        sample_ids: Sequence[str], readers: Mapping[str, FeatureReader], /
    ) -> tuple[np.ndarray, np.ndarray]:
        return external.select_features(sample_ids)

    return Entrant(
        external.name,
        "external",
        predict,
        # One file can hold maps of several datasets.
        datasets=[dataset for dataset, ids in ids_of.items() if not own_ids.isdisjoint(ids)],
        own_ids=own_ids,
        is_kept=True,
        predict_sources=None if external.source_maps is None else predict_sources,
        embed_pairs=None if external.features is None else embed,
        selection="not stated",
    )
