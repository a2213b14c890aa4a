"""The dataset ``vggsound``: VGG-Sound clips for training, VGG-SS boxes for testing.

A clip is ten seconds of a YouTube video. Its id is ``YTID_%06d`` with the second at which it
begins; YouTube ids can begin with ``-`` or ``_``. The annotated frame of VGG-SS is the 125th at 25
frames a second, at 5.0 s. Training samples lie there, too.

Splits have the names of the published lists (``pipeline/lists/vggsound_lists.py``):
``vggss_test_plus_silent`` is the test set with as many negatives, and hche11/VGGSound gives
``vggsound_train`` and ``vggsound_test``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from earshot.errors import DataError
from pipeline.base.parameters import IS_PATH
from pipeline.datasets.dataset import (
    AnnotationFile,
    Dataset,
    PublishedTestSet,
    Source,
    TestSet,
)
from pipeline.lists.annotations import read_vggss
from pipeline.lists.published_lists import (
    ListFile,
    Lists,
    log,
    read_ids,
    read_pairs,
)
from pipeline.lists.rows import Membership, Truth, make_clips, make_negatives, make_samples
from pipeline.lists.selection import Chooser, Selection, check_splits
from pipeline.lists.vggsound_lists import (
    BOXES,
    CLIP_ID,
    CLIP_ID_WORDS,
    FULL,
    ID_LISTS,
    NAMED_BY_FILES,
    NEGATIVES,
    TEST_SPLITS,
    read_full,
)

CLIP_SECONDS = 10.0
SAMPLE_SECONDS = 5.0  # frame 125 of 250, counted from 0, at 25 frames a second

# The name of a file, or begin and end in milliseconds.
_FILE_NAME = re.compile(r"([A-Za-z0-9_-]{11})_([0-9]{1,9})(_[0-9]{1,9})?(\.[a-z0-9]+)?(,.*)?")
EXTENDED_SPLIT = "vggss_test_plus_silent"
FULL_SPLITS = {"vggsound_train": "train", "vggsound_test": "test"}  # split -> its name in `FULL`
SPLITS = (*ID_LISTS, EXTENDED_SPLIT, *FULL_SPLITS)
_ANNOTATED_SPLITS = frozenset({*TEST_SPLITS, EXTENDED_SPLIT})


@dataclass(frozen=True)
class Parameters(Selection):
    """Section ``sources.vggsound`` of params.yaml."""

    splits: tuple[str, ...] = ("htf_vgg_10k", "vggss_test")  # some of `SPLITS`
    # a folder with the published lists; null: fetch them
    lists_dir: str | None = field(default=None, metadata=IS_PATH)

    # Where the lists are published.
    ezvsl_url: str = "https://raw.githubusercontent.com/stoneMo/EZ-VSL/HEAD/metadata"
    htf_url: str = "https://raw.githubusercontent.com/denfed/heartheflow/HEAD/metadata"
    slavc_url: str = "https://raw.githubusercontent.com/stoneMo/SLAVC/HEAD/metadata"
    fnac_url: str = "https://raw.githubusercontent.com/OpenNLPLab/FNAC_AVL/HEAD/metadata"
    ssltie_url: str = "https://raw.githubusercontent.com/jinxiang-liu/SSL-TIE/HEAD/metadata"
    sspl_url: str = "https://raw.githubusercontent.com/zjsong/SSPL/HEAD/metadata"
    sslalignment_url: str = "https://raw.githubusercontent.com/kaistmm/SSLalignment/HEAD/metadata"
    vggss_url: str = (
        "https://raw.githubusercontent.com/hche11/"
        "Localizing-Visual-Sounds-the-Hard-Way/HEAD/metadata"
    )
    vggsound_url: str = "https://raw.githubusercontent.com/hche11/VGGSound/HEAD/data"

    video_url: str = "https://www.youtube.com/watch?v={video_id}"  # of a clip's video

    def __post_init__(self) -> None:
        super().__post_init__()
        check_splits(self.splits, SPLITS)
        if "{video_id}" not in self.video_url:
            raise ValueError(f"video_url is {self.video_url!r}, expected a place for {{video_id}}")


def build_tables(parameters: Parameters, *, cache_dir: Path) -> tuple[pa.Table, pa.Table]:
    """Return CLIPS and SAMPLES of the selected splits, with one row for each clip."""
    lists = _open_lists(parameters, cache_dir)

    # Without a test split nothing needs boxes, so they are not fetched.
    truths: dict[str, Truth] = {}
    if _ANNOTATED_SPLITS & set(parameters.splits):
        truths = read_vggss(_find_boxes(lists), pattern=CLIP_ID)

    # Read the splits: the samples, their labels, and the pairs of the negatives.
    chooser = Chooser(parameters)
    samples = Membership()
    labels: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    if set(FULL_SPLITS) & set(parameters.splits):
        labels = _add_full(lists.get(FULL), parameters, chooser, samples)

    for split in parameters.splits:
        if split in FULL_SPLITS:
            continue
        samples.add(split, chooser.choose(_read_split(lists, split, truths)))
        if split == EXTENDED_SPLIT:
            pairs = _read_negatives(lists, chooser)

    # The audit of coverage reads these lists later, and fetches nothing itself.
    if not lists.is_local:
        _cache_test_lists(lists)

    # The clips of negatives are needed, too, for their picture or their sound.
    clips = Membership(list(samples.names), dict(samples.masks))
    if pairs:
        clips.add(EXTENDED_SPLIT, (clip_id for pair in pairs for clip_id in pair))

    clip_table = make_clips(
        clips,
        video_id_of=video_id_of,
        url_of=lambda clip_id: parameters.video_url.replace("{video_id}", video_id_of(clip_id)),
        range_of=range_of,
    )

    # The class that VGG-SS gives a clip goes before the label of vggsound.csv.
    for clip_id, label in labels.items():
        truths.setdefault(clip_id, Truth(label))

    sample_table = make_samples(samples, time_of=_time_of, truths=truths, attributes={})
    if pairs:
        negatives = {pair: [EXTENDED_SPLIT] for pair in pairs}
        sample_table = pa.concat_tables([sample_table, make_negatives(negatives, time_of=_time_of)])
    return chooser.finish(clip_table), sample_table


def _read_split(lists: Lists, split: str, truths: Mapping[str, Truth]) -> list[str]:
    """Return the clip ids of a split; those of a test split must have boxes."""
    # The positives of the extended set are the test list.
    split_of_list = "vggss_test" if split == EXTENDED_SPLIT else split
    path = lists.get(ID_LISTS[split_of_list])
    ids = _read_list(path, split_of_list, has_frame_column=path.suffix == ".csv")

    if split in _ANNOTATED_SPLITS:
        unknown = next((clip_id for clip_id in ids if clip_id not in truths), None)
        if unknown is not None:
            raise DataError(
                f"{path}: test clip {unknown} has no boxes in {BOXES.name}, "
                "expected all to have some"
            )
    return ids


def _read_negatives(lists: Lists, chooser: Chooser) -> list[tuple[str, str]]:
    """Return ``(video id, audio id)`` of the negatives of the chosen videos."""
    pairs = read_pairs(lists.get(NEGATIVES), pattern=CLIP_ID, what=CLIP_ID_WORDS)
    chosen = set(chooser.choose(video for video, _ in pairs))
    return [pair for pair in pairs if pair[0] in chosen]


def find_published_test_sets(parameters: Parameters, *, cache_dir: Path) -> list[PublishedTestSet]:
    """List the test sets on which papers report; read the lists that are on this machine."""
    lists = _open_lists(parameters, cache_dir)
    # Sizes as the papers state them: they are known where a list is not on this machine.
    sizes = [
        ("vggss_test", "LVS, EZ-VSL, SLAVC", 5158),
        ("vggss_heard_test", "LVS, EZ-VSL, HTF: 110 heard classes", 2564),
        ("vggss_unheard_test", "LVS, EZ-VSL, HTF: 110 unheard classes", 2575),
        ("ssltie_vggss_test", "SSL-TIE", 4911),
        ("sspl_vggss_test", "SSPL, SACL", 4692),
        ("sslalignment_vggss_test", "Senocak 2023 (SSLalignment)", 4655),
        ("htf_vggss_test", "HTF", 4670),
        ("ssltie_heard_test", "SSL-TIE: 110 heard classes of its own", 2425),
        ("ssltie_unheard_test", "SSL-TIE: 110 unheard classes of its own", 2463),
    ]
    return [
        PublishedTestSet(name, used_by, size, _known_ids(lists, name))
        for name, used_by, size in sizes
    ]


def read_annotations(path: Path) -> pa.Table:
    """Return SAMPLES of all of VGG-SS, from the published ``vggss.json``."""
    truths = read_vggss(path, pattern=CLIP_ID)
    samples = Membership()
    samples.add("vggss_test", truths)
    return make_samples(samples, time_of=_time_of, truths=truths, attributes={})


def video_id_of(clip_id: str) -> str:
    """Return the YouTube id of a clip."""
    # An id has eleven characters, and `_` can be one of them, so the clip id cannot be split there.
    return clip_id[:11]


def range_of(clip_id: str) -> tuple[float, float]:
    """Return the range ``[start, end)`` of a clip in its video, in seconds."""
    start_seconds = float(clip_id[12:])
    return start_seconds, start_seconds + CLIP_SECONDS


def _time_of(_: str) -> float:
    return SAMPLE_SECONDS


def _open_lists(parameters: Parameters, cache_dir: Path) -> Lists:
    families = sorted({file.family for file in (*ID_LISTS.values(), BOXES, NEGATIVES, FULL)})
    urls = {name: getattr(parameters, f"{name}_url") for name in families}
    return Lists(
        urls, lists_dir=parameters.lists_dir, cache_dir=cache_dir, parameter="sources.vggsound"
    )


def _find_boxes(lists: Lists) -> Path:
    """Return the path of ``vggss.json``, which is in two repositories with the same bytes."""
    beside_ezvsl = ListFile("ezvsl", BOXES.name, BOXES.sha256)
    return lists.find(beside_ezvsl) or lists.get(BOXES)


def _known_ids(lists: Lists, split: str) -> frozenset[str] | None:
    path = lists.find(ID_LISTS[split])
    return None if path is None else frozenset(_read_list(path, split, has_frame_column=True))


def _read_list(path: Path, split: str, *, has_frame_column: bool) -> list[str]:
    """Return the clip ids of a list in its order."""
    return read_ids(
        path,
        pattern=CLIP_ID,
        what=CLIP_ID_WORDS,
        has_frame_column=has_frame_column,
        rename=_find_clip_id if split in NAMED_BY_FILES else str,
    )


def _find_clip_id(text: str) -> str:
    """Return the id of a clip that a line names by its file, or by begin and end."""
    match = _FILE_NAME.fullmatch(text)
    if match is None:
        return text
    video_id, start, end = match.group(1, 2, 3)
    # Two numbers are milliseconds. One alone is the second at which the clip begins.
    return f"{video_id}_{int(start) // (1000 if end else 1):06d}"


def _cache_test_lists(lists: Lists) -> None:
    """Fetch the small lists that the audit of coverage reads, for any selection of splits."""
    for split in ("vggss_test", "htf_vggss_test"):
        try:
            lists.get(ID_LISTS[split])
        except DataError as error:
            # The tables do not need these lists.
            log.warning("coverage of %s cannot be measured: %s", split, error)


def _add_full(
    path: Path, parameters: Parameters, chooser: Chooser, samples: Membership
) -> dict[str, str]:
    """Add the clips of ``vggsound.csv`` to their splits; return all labels.

    Clips of other lists have their labels from this file, too.
    """
    labels, ids = read_full(path)
    for split in parameters.splits:
        if split in FULL_SPLITS:
            samples.add(split, chooser.choose(ids[FULL_SPLITS[split]]))
    return labels


DATASET = Dataset(
    name="vggsound",
    parameters=Parameters,
    build_tables=build_tables,
    box_rule="union",
    find_splits=lambda parameters: parameters.splits,
    clip_id_pattern=CLIP_ID,
    clip_id_words=CLIP_ID_WORDS,
    test_sets=(
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
            "vggss_4911",
            "vggsound",
            "ssltie_vggss_test",
            4911,
            "SSL-TIE; its code does not clip boxes that leave the frame",
        ),
        TestSet(
            "vggss_4692", "vggsound", "sspl_vggss_test", 4692, "SSPL and SACL: half of the range"
        ),
        TestSet(
            "vggss_4655",
            "vggsound",
            "sslalignment_vggss_test",
            4655,
            "Senocak 2023 (SSLalignment) and papers that follow it",
        ),
        TestSet(
            "vggss_heard_ssltie",
            "vggsound",
            "ssltie_heard_test",
            2425,
            "SSL-TIE's other split: 1,183 of these clips are in vggss_heard",
        ),
        TestSet(
            "vggss_unheard_ssltie",
            "vggsound",
            "ssltie_unheard_test",
            2463,
            "SSL-TIE's other split; its training list holds 2,306 of the 5,158 clips of VGG-SS",
        ),
        TestSet(
            "vggss_extended",
            "vggsound",
            EXTENDED_SPLIT,
            10316,
            "VGG-SS and as many negatives of SLAVC: a frame with the sound of another clip, or a "
            "clip whose own sound has no visible source",
        ),
    ),
    sources=(
        Source(
            "VGG-Sound's list of YouTube videos",
            "https://github.com/hche11/VGGSound",
            "the list's authors state CC BY 4.0; each video belongs to its uploader",
        ),
        Source(
            "boxes and classes of VGG-SS",
            "https://github.com/hche11/Localizing-Visual-Sounds-the-Hard-Way",
            "see the repository",
        ),
        Source("lists of EZ-VSL", "https://github.com/stoneMo/EZ-VSL", "see the repository"),
        Source(
            "lists of Hear The Flow", "https://github.com/denfed/heartheflow", "see the repository"
        ),
        Source("lists of SLAVC", "https://github.com/stoneMo/SLAVC", "see the repository"),
        Source("lists of FNAC", "https://github.com/OpenNLPLab/FNAC_AVL", "none stated"),
        Source("lists of SSL-TIE", "https://github.com/jinxiang-liu/SSL-TIE", "MIT"),
        Source("list of SSPL", "https://github.com/zjsong/SSPL", "MIT"),
        Source("list of SSLalignment", "https://github.com/kaistmm/SSLalignment", "none stated"),
    ),
    find_published_test_sets=find_published_test_sets,
    whole_test_split="vggss_test",
    path_parameters=("lists_dir",),
    annotation_file=AnnotationFile(BOXES.name, test_set="vggss", read=read_annotations),
    split_breakdowns={
        "heard": {"vggss_heard_test": "heard", "vggss_unheard_test": "unheard"},
        "heard_ssltie": {"ssltie_heard_test": "heard", "ssltie_unheard_test": "unheard"},
    },
)
