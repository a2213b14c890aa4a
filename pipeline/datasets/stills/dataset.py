"""The dataset ``stills``: still pictures with sounds, on which papers since 2022 report.

Lists are fetched by hash or taken from a folder. Media are not published file by file: download
the release of a set (docs/datasets.md says where), put it in ``media_dir`` in a folder with the
set's name (``is3``, ``vpo_ss``, ...), and each picture is joined without loss with its sound into
``cache/stills/remote/<id>-<key>.mkv``. Masks become run lengths in the samples table. Without
media, the tables still hold all ground truth, so that foreign maps can be scored.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from earshot.errors import DataError, MediaError
from earshot.tables import CLIPS, SAMPLES
from pipeline.base.parameters import IS_PATH
from pipeline.base.progress import Progress
from pipeline.datasets import vggsound
from pipeline.datasets.dataset import Attribute, Dataset, PublishedTestSet, Source
from pipeline.datasets.stills.entries import STACKED, Entry
from pipeline.datasets.stills.media import IMAGES, SOUNDS, VIDEOS, MediaFolder, join_duet
from pipeline.datasets.stills.sets import SETS, StillSet
from pipeline.lists.masks import ATTRIBUTE, encode_mask, read_mask
from pipeline.lists.published_lists import Lists, log
from pipeline.lists.rows import make_file_clip, make_sample_row
from pipeline.lists.selection import Chooser, Selection, check_splits
from pipeline.media.joined_files import JoinedFiles
from pipeline.media.mux import mux_still

_NUM_NAMED = 3


@dataclass(frozen=True)
class Parameters(Selection):
    """Section ``sources.stills`` of params.yaml."""

    splits: tuple[str, ...] = ("is3_test",)  # some of `SETS`
    # A folder with the published lists; null: fetch them.
    lists_dir: str | None = field(default=None, metadata=IS_PATH)
    # A folder with the media of each set in a folder of its name; null: ground truth alone.
    media_dir: str | None = field(default=None, metadata=IS_PATH)

    # Where the lists are published.
    sslalignment_url: str = "https://raw.githubusercontent.com/kaistmm/SSLalignment/HEAD/metadata"
    avgn_url: str = "https://raw.githubusercontent.com/stoneMo/AVGN/HEAD/metadata"
    vggss_url: str = (
        "https://raw.githubusercontent.com/hche11/"
        "Localizing-Visual-Sounds-the-Hard-Way/HEAD/metadata"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_splits(self.splits, SETS)


def build_tables(parameters: Parameters, *, cache_dir: Path) -> tuple[pa.Table, pa.Table]:
    """Return CLIPS and SAMPLES of the selected splits, one clip a sample."""
    lists = _open_lists(parameters, cache_dir)
    chooser = Chooser(parameters)
    entries_of = {
        split: _choose(_read_entries(lists, SETS[split]), chooser) for split in parameters.splits
    }

    clip_rows, sample_rows = [], []
    joined_files = JoinedFiles(Path(cache_dir) / "remote")
    with Progress(sum(map(len, entries_of.values())), "preparing stills") as progress:
        for split, entries in entries_of.items():
            folder = _open_media(parameters, SETS[split])
            absent = []
            for entry in entries:
                path, attributes = _prepare(entry, folder, joined_files)
                if path is None:
                    absent.append(entry.sample_id)
                    # The download stage then says that there is no such file.
                    path = Path(cache_dir).absolute() / "remote" / f"{entry.sample_id}.absent"

                # Intervals draw the samples of one video together.
                video = {"video_id": attributes.get("recording", entry.sample_id)}
                clip_rows.append(make_file_clip(entry.sample_id, path, [split]) | video)
                sample_rows.append(_make_sample(entry, split, attributes))
                # Without a folder nobody expects media, so nothing has failed.
                progress.update(num_failed=folder is not None and entry.sample_id in absent[-1:])
            _report_absent(split, absent, folder, num_entries=len(entries))
    joined_files.save()

    return (
        chooser.finish(pa.Table.from_pylist(clip_rows, schema=CLIPS.columns)),
        pa.Table.from_pylist(sample_rows, schema=SAMPLES.columns),
    )


def _open_lists(parameters: Parameters, cache_dir: Path) -> Lists:
    families = sorted({file.family for one in SETS.values() for file in one.lists})
    urls = {name: getattr(parameters, f"{name}_url") for name in families}
    return Lists(
        urls, lists_dir=parameters.lists_dir, cache_dir=cache_dir, parameter="sources.stills"
    )


def _read_entries(lists: Lists, one: StillSet) -> list[Entry]:
    paths = [lists.get(file) for file in one.lists]
    entries = one.read(paths)

    first_of: dict[str, int] = {}
    for number, entry in enumerate(entries, start=1):
        if entry.sample_id in first_of:
            raise DataError(
                f"{paths[0]}: {entry.sample_id} appears twice (rows {first_of[entry.sample_id]} "
                f"and {number})"
            )
        first_of[entry.sample_id] = number

    if not entries:
        raise DataError(f"{paths[0]}: is empty")
    return entries


def _choose(entries: Sequence[Entry], chooser: Chooser) -> list[Entry]:
    chosen = set(chooser.choose(entry.sample_id for entry in entries))
    return [entry for entry in entries if entry.sample_id in chosen]


def _open_media(parameters: Parameters, one: StillSet) -> MediaFolder | None:
    if parameters.media_dir is None:
        return None

    folder = Path(parameters.media_dir).expanduser().absolute() / one.folder
    if not folder.is_dir():
        raise DataError(
            f"sources.stills.media_dir: found no folder {folder}, expected the media of "
            f"{one.folder}"
        )
    return MediaFolder(folder)


def _prepare(
    entry: Entry, folder: MediaFolder | None, joined_files: JoinedFiles
) -> tuple[Path | None, dict[str, str]]:
    """Return the clip's one media file, if its files are there, and the sample's attributes."""
    attributes = dict(entry.attributes)
    if folder is None:
        return None, attributes

    masks = [folder.find(name, IMAGES, is_mask=True) for name in entry.masks]
    mask_path = next((path for path in masks if path is not None), None)
    if mask_path is not None:
        attributes[ATTRIBUTE] = encode_mask(read_mask(mask_path))

    is_duet = attributes.get("layout") == STACKED
    names = (
        [(name, VIDEOS) for name in entry.images]
        if is_duet
        else [(entry.images[0], IMAGES), (entry.sounds[0], SOUNDS)]
    )
    paths = [folder.find(name, suffixes) for name, suffixes in names]
    sources = [path for path in paths if path is not None]
    if len(sources) < len(paths):
        return None, attributes

    try:
        heard = tuple(entry.images.index(name) for name in entry.sounds) if is_duet else ()
        join = functools.partial(join_duet, heard=heard) if is_duet else mux_still
        return joined_files.make(entry.sample_id, *sources, join=join), attributes
    except MediaError as error:
        log.warning("%s: %s", entry.sample_id, error)
        return None, attributes


def _make_sample(entry: Entry, split: str, attributes: dict[str, str]) -> dict[str, Any]:
    # At the centre, as at any other time the picture is the same.
    return make_sample_row(
        entry.sample_id,
        entry.sample_id,
        time_seconds=None,
        splits=[split],
        truth=entry.truth,
        attributes=attributes.items(),
    )


def _report_absent(
    split: str, absent: Sequence[str], folder: MediaFolder | None, *, num_entries: int
) -> None:
    if folder is None:
        log.warning(
            "%s: its %d samples have ground truth and no media: set sources.stills.media_dir",
            split,
            num_entries,
        )
    elif absent:
        named = ", ".join(absent[:_NUM_NAMED])
        log.warning(
            "%s: %d of %d samples lack picture or sound: %s", split, len(absent), num_entries, named
        )


def find_published_test_sets(parameters: Parameters, *, cache_dir: Path) -> list[PublishedTestSet]:
    """List the test sets; read the lists that are on this machine."""
    lists = _open_lists(parameters, cache_dir)
    found = []
    for split in parameters.splits:
        one = SETS[split]
        # No set is a part of another, so without its list nothing is known of it.
        is_published = one.num_published > 0
        if is_published and all(lists.find(file) is not None for file in one.lists):
            ids = frozenset(entry.sample_id for entry in _read_entries(lists, one))
            # A note begins with the papers.
            used_by = one.note.split(":")[0]
            found.append(PublishedTestSet(split, used_by, one.num_published, ids))
    return found


DATASET = Dataset(
    name="stills",
    parameters=Parameters,
    build_tables=build_tables,
    box_rule="union",
    lists_media=True,
    is_linked=True,
    # Duets are clips of VGG-SS, AVSBench has videos of VGG-Sound, and VPO has sounds of clips that
    # its list does not name: where the origin is not known, leakage must not be printed as 0.
    may_share_clips=True,
    made_from=vggsound.DATASET.name,
    find_splits=lambda parameters: parameters.splits,
    test_sets=tuple(one.as_test_set() for one in SETS.values()),
    find_published_test_sets=find_published_test_sets,
    path_parameters=("lists_dir",),
    release_parameters=("media_dir",),
    sources=(
        Source(
            "boxes of IS3, VPO and AVSBench",
            "https://github.com/kaistmm/SSLalignment",
            "none stated",
        ),
        Source(
            "lists of duets and VGG-Instruments", "https://github.com/stoneMo/AVGN", "none stated"
        ),
    ),
    attributes={
        "picture": Attribute({None: "picture {}"}),
        "one_class": Attribute({"true": "two sounds of one class"}),
    },
)
