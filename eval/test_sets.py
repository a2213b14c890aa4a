"""The test sets of the field by name, and why results on "the same" benchmark may not be comparable.

A test set is a list of ids of one dataset. The lists are data of their authors, not of this project: they come from the
splits of a samples table (which the stage ``sources`` writes) or from the published list files themselves.
"""

import csv
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.errors import DataError, ParameterError
from pipeline.tables import SAMPLES

FLICKR_TYPOS = {"3908875357": "3908875350"}  # the official test list names a video that does not exist


@dataclass(frozen=True)
class TestSet:
    """``list_path``: the published list below the lists folder. ``split``: its name in a samples table.

    ``num_published``: entries of the list. ``note``: who reports on it, and what to beware of.
    """

    name: str
    dataset: str
    split: str
    list_path: str
    num_published: int
    note: str
    negatives_path: str | None = None
    num_negatives: int = 0


TEST_SETS = {
    test_set.name: test_set
    for test_set in (
        TestSet(
            "vggss",
            "vggsound",
            "vggss_test",
            "ezvsl/vggss_test.csv",
            5158,
            "all of VGG-SS; two clips have an empty map",
        ),
        TestSet(
            "vggss_htf",
            "vggsound",
            "htf_vggss_test",
            "htf/vggss_test_trimmed.csv",
            4670,
            "the part of VGG-SS that Hear The Flow reports on",
        ),
        TestSet(
            "vggss_heard",
            "vggsound",
            "vggss_heard_test",
            "ezvsl/vggss_heard_test.csv",
            2564,
            "classes that are in the 70k list for open-set training",
        ),
        TestSet(
            "vggss_unheard",
            "vggsound",
            "vggss_unheard_test",
            "ezvsl/vggss_unheard_test.csv",
            2575,
            "classes that are not in that list",
        ),
        TestSet(
            "vggss_extended",
            "vggsound",
            "vggss_extended",
            "ezvsl/vggss_test.csv",
            5158,
            "VGG-SS and SLAVC's negatives: a frame with the sound of another clip, or a clip without a visible source",
            "slavc/vggss_test_plus_silent.csv",
            5158,
        ),
        TestSet(
            "flickr",
            "flickr",
            "flickr_test",
            "ezvsl/flickr_test.csv",
            249,
            "LVS, EZ-VSL and SSPL report on these 249; HardPos and SLAVC on 250",
        ),
        TestSet(
            "flickr_250",
            "flickr",
            "flickr_test_250",
            "slavc/flickr_test_plus_silent.csv",
            250,
            "the 249 and one more: HardPos and SLAVC",
        ),
        TestSet(
            "flickr_htf",
            "flickr",
            "htf_flickr_test",
            "htf/flickr_test_trimmed.csv",
            178,
            "the part of the Flickr test set that Hear The Flow reports on",
        ),
        TestSet(
            "flickr_expanded",
            "flickr",
            "htf_flickr_test_expanded",
            "htf/flickr_test_expanded.csv",
            1666,
            "Hear The Flow's expanded set; it holds 169 of the 178 and of the 249",
        ),
        TestSet(
            "flickr_extended",
            "flickr",
            "flickr_extended",
            "ezvsl/flickr_test.csv",
            249,
            "the Flickr test set and SLAVC's negatives: the frame with the sound of another clip",
            "slavc/flickr_test_plus_silent.csv",
            250,
        ),
        TestSet(
            "urbansas",
            "urbansas",
            "test",
            "",
            5704,
            "FlowGrad's frames of the labelled clips; n differs with what fails",
        ),
        TestSet("sample", "sample", "test", "", 0, "rendered on this machine"),
    )
}


def get_test_set(name: str) -> TestSet:
    """The test set of this name; an unknown name is an error that lists the known ones."""
    if name not in TEST_SETS:
        raise ParameterError(f"unknown test set {name!r}, expected one of {', '.join(TEST_SETS)}")
    return TEST_SETS[name]


def read_ids(path: Path | str) -> list[str]:
    """Ids of a published list: the first column of each line, typos of the Flickr list corrected.

    An id that is there twice is an error: the size of a test set must not depend on how a reader treats it.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            ids = [row[0].strip() for row in csv.reader(file) if row and row[0].strip()]
    except FileNotFoundError:
        raise DataError(f"{path}: not found, expected a list of ids, one a line") from None
    except (UnicodeDecodeError, csv.Error, IsADirectoryError) as error:
        raise DataError(f"{path}: not a list of ids: {str(error).splitlines()[0]}") from None
    if ids[:1] == ["video"]:  # SLAVC's lists have a header
        ids = ids[1:]
    ids = [FLICKR_TYPOS.get(name, name) for name in ids]
    if not ids:
        raise DataError(f"{path}: the list is empty, expected ids, one a line")
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise DataError(f"{path}: id {name} is there twice, expected each once")
        seen.add(name)
    return ids


def read_negatives(path: Path | str) -> list[tuple[str, str]]:
    """SLAVC's negatives: (clip of the frame, clip of the sound) of each row labelled ``non-sounding``.

    Where both are the same clip, the clip itself has no visible source of sound.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise DataError(f"{path}: not found, expected a list with the columns video, audio, label") from None
    if not rows or not {"video", "audio", "label"} <= set(rows[0]):
        raise DataError(f"{path}: has columns {', '.join(rows[0]) if rows else 'none'}, expected video, audio, label")
    return [(row["video"], row["audio"]) for row in rows if row["label"] == "non-sounding"]


def negative_id(clip_id: str, audio_clip_id: str) -> str:
    """Sample id of a negative: the frame of one clip with the sound of another (or its own, silent one)."""
    return f"{clip_id}+{audio_clip_id}"


def load_vggss(path: Path | str, *, negatives: Iterable[tuple[str, str]] = ()) -> pa.Table:
    """A samples table from the published ``vggss.json``; the sample id is the clip id, ``YTID_start``."""
    path = Path(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: not found, expected vggss.json of the LVS repository") from None
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: not valid JSON: {str(error).splitlines()[0]}") from None
    rows, seen = [], set()
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path}: holds no entries, expected a list of objects with file, class and bbox")
    for number, entry in enumerate(entries):
        try:
            clip_id, label = str(entry["file"]), str(entry["class"])
            boxes = [[float(v) for v in box] for box in entry["bbox"]]
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{path}: entry {number} is {str(entry)[:80]}, expected file, class and bbox") from None
        if any(len(box) != 4 for box in boxes):
            raise DataError(f"{path}: a box of {clip_id} has not four numbers, expected x1 y1 x2 y2")
        if clip_id in seen:
            raise DataError(f"{path}: {clip_id} is there twice, expected each clip once")
        seen.add(clip_id)
        rows.append(_sample_row(clip_id, clip_id, boxes, label=label))
    for clip_id, audio_clip_id in negatives:
        name = negative_id(clip_id, audio_clip_id)
        rows.append(_sample_row(name, clip_id, [], audio_clip_id=audio_clip_id))
    return pa.Table.from_pylist(rows, schema=SAMPLES.columns)


def _sample_row(sample_id, clip_id, boxes, *, label=None, audio_clip_id=None) -> dict:
    return {
        "sample_id": sample_id,
        "clip_id": clip_id,
        "time_seconds": None,
        "splits": [],
        "label": label,
        "boxes": boxes,
        "box_annotators": [0] * len(boxes),
        "audio_clip_id": audio_clip_id,
        "attributes": [],
    }


def select_test_set(samples: pa.Table, test_set: TestSet, *, lists_dir: Path | None = None) -> list[str]:
    """Sample ids of ``test_set``: by its split in ``samples``, or by the published list below ``lists_dir``.

    An id of the list that the samples table lacks is an error, so that n cannot shrink unnoticed.
    """
    columns = samples.select(["sample_id", "clip_id", "splits", "audio_clip_id"]).to_pydict()
    by_split = [
        name for name, splits in zip(columns["sample_id"], columns["splits"], strict=True) if test_set.split in splits
    ]
    if by_split:
        return by_split
    if lists_dir is None or not test_set.list_path:
        known = sorted({split for splits in columns["splits"] for split in splits})
        raise DataError(
            f"the test set {test_set.name} is empty: no sample is in the split {test_set.split!r} "
            f"(splits there: {', '.join(known) or 'none'}), and no folder of published lists was given"
        )
    sample_of = {
        (clip_id, audio): name
        for name, clip_id, audio in zip(columns["sample_id"], columns["clip_id"], columns["audio_clip_id"], strict=True)
    }
    wanted: list[tuple[str, str | None]] = [(name, None) for name in read_ids(lists_dir / test_set.list_path)]
    if test_set.negatives_path is not None:
        wanted += read_negatives(lists_dir / test_set.negatives_path)
    absent = [key for key in wanted if key not in sample_of]
    if absent:
        raise DataError(
            f"the test set {test_set.name} has {absent[0][0]}, which is not in the dataset ({len(absent)} such ids)"
        )
    return [sample_of[key] for key in wanted]


def count_leakage(test_clip_ids: Collection[str], train_clip_ids: Collection[str]) -> int:
    """How many test clips are in the training data, too."""
    train_clip_ids = set(train_clip_ids)
    return sum(name in train_clip_ids for name in set(test_clip_ids))
