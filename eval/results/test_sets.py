"""The test sets of the field by name, and where their ids and ground truth come from.

A test set is one of the published lists; the datasets' modules know the lists (``pipeline/datasets``) and enter them as
splits of the samples table. Here are their names in tables of results and what one must know to compare such tables.
"""

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa

from earshot.errors import DataError, ParameterError


@dataclass(frozen=True)
class TestSet:
    """``split``: its name in a samples table. ``num_published``: its samples, negatives included (0: not published).

    ``note``: who reports on it, and what to beware of.
    """

    name: str
    dataset: str
    split: str
    num_published: int
    note: str


TEST_SETS = {
    test_set.name: test_set
    for test_set in (
        TestSet(
            "vggss", "vggsound", "vggss_test", 5158, "all of VGG-SS; two clips have an empty map"
        ),
        TestSet(
            "vggss_htf",
            "vggsound",
            "htf_vggss_test",
            4670,
            "the part of VGG-SS that Hear The Flow reports on",
        ),
        TestSet(
            "vggss_heard",
            "vggsound",
            "vggss_heard_test",
            2564,
            "classes of the list for open-set training",
        ),
        TestSet(
            "vggss_unheard",
            "vggsound",
            "vggss_unheard_test",
            2575,
            "classes that are not in that list",
        ),
        TestSet(
            "vggss_extended",
            "vggsound",
            "vggss_test_plus_silent",
            10316,
            "VGG-SS and as many negatives of SLAVC: a frame with the sound of another clip, or a clip whose own "
            "sound has no visible source",
        ),
        TestSet(
            "flickr",
            "flickr",
            "flickr_test",
            249,
            "LVS, EZ-VSL and SSPL report on these 249; HardPos and SLAVC on 250",
        ),
        TestSet(
            "flickr_250",
            "flickr",
            "flickr_test_250",
            250,
            "the 249 and one more: HardPos and SLAVC",
        ),
        TestSet(
            "flickr_htf",
            "flickr",
            "htf_flickr_test",
            178,
            "the part of the 249 that Hear The Flow reports on",
        ),
        TestSet(
            "flickr_expanded",
            "flickr",
            "htf_flickr_test_expanded",
            1666,
            "Hear The Flow's expanded set; it holds 169 of the 178",
        ),
        TestSet(
            "flickr_extended",
            "flickr",
            "flickr_test_plus_silent",
            500,
            "the 250 and as many negatives of SLAVC: a frame with the sound of another clip",
        ),
        TestSet(
            "urbansas",
            "urbansas",
            "urbansas_test",
            5704,
            "FlowGrad's frames of the labelled clips; its n differs by model",
        ),
        TestSet("sample", "sample", "test", 0, "rendered on this machine: both subsets below"),
        TestSet("sample_single", "sample", "single", 0, "one source, still background"),
        TestSet(
            "sample_traffic",
            "sample",
            "traffic",
            0,
            "several objects of which one or two sound, parked look-alikes",
        ),
    )
}


def get_test_set(name: str) -> TestSet:
    """The test set of this name; an unknown name is an error that lists the known ones."""
    if name not in TEST_SETS:
        raise ParameterError(f"unknown test set {name!r}, expected one of {', '.join(TEST_SETS)}")
    return TEST_SETS[name]


def subset_ids(samples: pa.Table, subset: str) -> list[str]:
    """Ids of a subset: the samples with that name among their splits; ``all`` is every sample given."""
    splits = samples.select(["sample_id", "splits"]).to_pydict()
    if subset == "all" and splits["sample_id"]:
        return splits["sample_id"]
    ids = [name for name, names in zip(*splits.values(), strict=True) if subset in (names or ())]
    if not ids:
        known = sorted({name for names in splits["splits"] for name in names or ()})
        raise DataError(
            f"the subset {subset!r} is empty; splits in the samples table: {', '.join(known) or 'none'}"
        )
    return ids


def count_leakage(test_clip_ids: Collection[str], train_clip_ids: Collection[str]) -> int:
    """How many test clips are in the training data, too."""
    train_clip_ids = set(train_clip_ids)
    return sum(name in train_clip_ids for name in set(test_clip_ids))
