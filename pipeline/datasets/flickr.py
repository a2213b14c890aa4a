"""The dataset ``flickr``: Flickr-SoundNet.

A clip is a whole Flickr video; its id is the photo id. Splits have the names of the published lists
(``lists/flickr_lists.py``). Addresses of the videos come from SoundNet's ``urls_public.txt``.

Hear The Flow (HTF) published which frame of a test video was annotated. Samples of these videos lie
there, whatever splits they are in, and those of all others at the centre. Boxes are one XML for
each video in ``annotations_dir``, a manual download; without it the test samples have none.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from earshot.errors import DataError
from pipeline.base.parameters import IS_PATH
from pipeline.datasets.dataset import Attribute, Dataset, PublishedTestSet, Source, TestSet
from pipeline.lists.annotations import content_sha256, read_flickr_xml, read_frame_choices
from pipeline.lists.flickr_lists import (
    CLIP_ID,
    CLIP_ID_WORDS,
    EXPANDED_FRAMES,
    FRAMES,
    FRAMES_CONTENT_SHA256,
    ID_LISTS,
    NEGATIVES,
    URLS,
)
from pipeline.lists.published_lists import (
    ListFile,
    Lists,
    log,
    read_ids,
    read_pairs,
)
from pipeline.lists.rows import Membership, Truth, make_clips, make_negatives, make_samples
from pipeline.lists.selection import Chooser, Selection, check_splits
from pipeline.lists.soundnet import read_addresses

# A typing error in copies of the official test list: no video has this id.
TYPO, CORRECT_ID = "3908875357", "3908875350"
FRAMES_PER_SECOND = 30.0  # HTF's frame numbers count at this rate, from 1
# HTF's preprocessing replaces the first candidate of three videos.
HTF_FRAMES = {"5344317532": 74, "10624261424": 514, "12158276143": 375}

SPLIT_250, EXTENDED_SPLIT = "flickr_test_250", "flickr_test_plus_silent"
_EXPANDED_SPLIT = "htf_flickr_test_expanded"
SPLITS = (*ID_LISTS, SPLIT_250, EXTENDED_SPLIT)
_TEST_SPLITS = frozenset(
    {"flickr_test", "htf_flickr_test", _EXPANDED_SPLIT, SPLIT_250, EXTENDED_SPLIT}
)
_ANNOTATED_SPLITS = _TEST_SPLITS | {"flickr_sup_train"}
_NUM_NAMED = 5


@dataclass(frozen=True)
class Parameters(Selection):
    """Section ``sources.flickr`` of params.yaml."""

    splits: tuple[str, ...] = ("htf_flickr_10k", "flickr_test")  # some of `SPLITS`
    # A folder with the published lists; null: fetch them.
    lists_dir: str | None = field(default=None, metadata=IS_PATH)
    # A folder with one <id>.xml for each test video.
    annotations_dir: str | None = field(default=None, metadata=IS_PATH)

    # Where the lists are published.
    ezvsl_url: str = "https://raw.githubusercontent.com/stoneMo/EZ-VSL/HEAD/metadata"
    htf_url: str = "https://raw.githubusercontent.com/denfed/heartheflow/HEAD/metadata"
    htf_frames_url: str = "https://raw.githubusercontent.com/denfed/heartheflow/HEAD/preprocess"
    slavc_url: str = "https://raw.githubusercontent.com/stoneMo/SLAVC/HEAD/metadata"
    # Of `urls_public.txt` (150 MB), which knows the user of each video; null: do without.
    soundnet_url: str | None = "http://data.csail.mit.edu/soundnet"

    # What is fetched for a video that is in `urls_public.txt`, and for one that is not.
    video_url: str = "https://www.flickr.com/photos/{user}/{video_id}/"  # also {secret}
    unlisted_url: str = "https://www.flickr.com/photo.gne?id={video_id}"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_splits(self.splits, SPLITS)
        for name in ("video_url", "unlisted_url"):
            if "{video_id}" not in getattr(self, name):
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, expected a place for {{video_id}}"
                )


def build_tables(parameters: Parameters, *, cache_dir: Path) -> tuple[pa.Table, pa.Table]:
    """Return CLIPS and SAMPLES of the selected splits, with one row for each video."""
    lists = _open_lists(parameters, cache_dir)

    # Read the splits: samples, clips, the videos that should have boxes, pairs of negatives.
    chooser = Chooser(parameters)
    samples, clips = Membership(), Membership()
    pairs: list[tuple[str, str]] = []
    annotated: dict[str, None] = {}
    for split in parameters.splits:
        # Corrected first: `ids` and `limit` know the right id only.
        chosen = chooser.choose(_correct_typo(_read_split(lists, split), split))
        if split == EXTENDED_SPLIT:
            kept = set(chosen)
            pairs = [pair for pair in _read_negatives(lists) if pair[0] in kept]
            # A negative also needs the clip whose sound it has.
            clips.add(split, (clip_id for pair in pairs for clip_id in pair))
        samples.add(split, chosen)
        clips.add(split, chosen)
        if split in _ANNOTATED_SPLITS:
            annotated |= dict.fromkeys(chosen)

    # The audit of coverage reads these lists later, and fetches nothing itself.
    if not lists.is_local:
        _cache_test_lists(lists)

    urls = _find_urls(lists, parameters, clips.masks)
    clip_table = make_clips(
        clips,
        video_id_of=lambda clip_id: clip_id,
        url_of=lambda clip_id: (
            urls.get(clip_id) or parameters.unlisted_url.replace("{video_id}", clip_id)
        ),
        # A clip is a whole video.
        range_of=lambda _: (None, None),
    )

    # Training lists have some of the test videos. Where a video's sample lies must not depend on
    # the other splits, so both tables are read for any selection.
    frames = _choose_frames(lists, parameters.splits)

    def time_of(clip_id: str) -> float | None:
        return time_of_frame(frames[clip_id]) if clip_id in frames else None

    sample_table = make_samples(
        samples,
        time_of=time_of,
        truths=_read_annotations(parameters, list(annotated)),
        attributes={clip_id: {"frame_at_30_fps": str(frame)} for clip_id, frame in frames.items()},
    )
    if pairs:
        negatives = {pair: [EXTENDED_SPLIT] for pair in pairs}
        sample_table = pa.concat_tables([sample_table, make_negatives(negatives, time_of=time_of)])
    return chooser.finish(clip_table), sample_table


def find_published_test_sets(parameters: Parameters, *, cache_dir: Path) -> list[PublishedTestSet]:
    """List the test sets on which papers report; read the lists that are on this machine."""
    lists = _open_lists(parameters, cache_dir)
    # Sizes as the papers state them: they are known where a list is not on this machine.
    sizes = [
        ("flickr_test", "LVS, EZ-VSL, SSPL", 249),
        (SPLIT_250, "HardPos, SLAVC", 250),
        ("htf_flickr_test", "HTF", 178),
    ]
    return [
        PublishedTestSet(name, used_by, size, _known_ids(lists, name))
        for name, used_by, size in sizes
    ]


def time_of_frame(frame: int) -> float:
    """Return the time in seconds of the frame that HTF takes for its frame number.

    HTF's numbers count from 1, and it takes the frame before the numbered one. The result lies in
    the middle of that frame, so that rounding cannot give a neighbour. (At the end of a video HTF
    goes one frame further back, since its flow needs a next frame. The reader does the same.)
    """
    return (max(frame - 1, 0) + 0.5) / FRAMES_PER_SECOND


def _open_lists(parameters: Parameters, cache_dir: Path) -> Lists:
    urls = {name: getattr(parameters, f"{name}_url") for name in ("ezvsl", "htf", "slavc")}
    urls |= {"htf_frames": parameters.htf_frames_url, "soundnet": parameters.soundnet_url}
    return Lists(
        urls, lists_dir=parameters.lists_dir, cache_dir=cache_dir, parameter="sources.flickr"
    )


def _read_split(lists: Lists, split: str) -> list[str]:
    """Return the video ids of a split as its list has them."""
    if split not in ID_LISTS:  # the 250 test videos are published in SLAVC's negatives only
        return list(dict.fromkeys(video for video, _ in _read_negatives(lists)))

    path = lists.get(ID_LISTS[split])
    # CSV lists have a second column, which no published code reads.
    return read_ids(
        path, pattern=CLIP_ID, what=CLIP_ID_WORDS, has_frame_column=path.suffix == ".csv"
    )


def _read_negatives(lists: Lists) -> list[tuple[str, str]]:
    return read_pairs(lists.get(NEGATIVES), pattern=CLIP_ID, what=CLIP_ID_WORDS)


def _known_ids(lists: Lists, split: str) -> frozenset[str] | None:
    """Return the ids of a split whose list is on this machine."""
    if lists.find(ID_LISTS.get(split, NEGATIVES)) is None:
        return None
    return frozenset(_correct_typo(_read_split(lists, split), split))


def _correct_typo(ids: list[str], split: str) -> list[str]:
    if TYPO not in ids:
        return ids
    log.warning("%s: has the known typing error %s, read as %s", split, TYPO, CORRECT_ID)
    # A list with both ids would have the video twice.
    return list(dict.fromkeys(CORRECT_ID if clip_id == TYPO else clip_id for clip_id in ids))


def _cache_test_lists(lists: Lists) -> None:
    """Fetch the small lists that the audit of coverage reads, for any selection of splits."""
    for file in (ID_LISTS["flickr_test"], ID_LISTS["htf_flickr_test"], NEGATIVES):
        try:
            lists.get(file)
        except DataError as error:
            # The tables do not need these lists.
            log.warning("coverage of the test set in %s cannot be measured: %s", file.name, error)


def _choose_frames(lists: Lists, splits: Collection[str]) -> dict[str, int]:
    """Return the frame number of each annotated video, from 1, at 30 frames a second."""
    frames: dict[str, int] = {}
    # Entries of the later table replace those of the earlier one.
    for name, needed_by in ((EXPANDED_FRAMES, {_EXPANDED_SPLIT}), (FRAMES, _TEST_SPLITS)):
        path = _find_frame_table(lists, name, is_needed=bool(needed_by & set(splits)))
        if path is None:
            continue

        choices = read_frame_choices(path)
        # Pickles of equal content can have other bytes, so compare the content.
        if content_sha256(choices) != FRAMES_CONTENT_SHA256[name]:
            message = f"{path}: says other frames than the published {name} ({len(choices)} videos)"
            if not lists.is_local:
                raise DataError(f"{message}; remove it to fetch it again")
            log.warning("%s; it is used as it is", message)

        # The candidates are ranked; HTF evaluates on the first one.
        frames |= {clip_id: ranked[0] for clip_id, ranked in choices.items()}
    # HTF replaces candidates of its tables. Videos that no table has stay at the centre.
    return frames | {clip_id: frame for clip_id, frame in HTF_FRAMES.items() if clip_id in frames}


def _find_frame_table(lists: Lists, name: str, *, is_needed: bool) -> Path | None:
    """Return the path of a table of frames; None if the user's folder may do without it."""
    # In the user's folder the table may lie as JSON.
    candidates = [ListFile("htf", f"{name}.json"), ListFile("htf", f"{name}.pickle")]
    path = next((path for path in map(lists.find, candidates) if path is not None), None)
    if path is None and lists.is_local and not is_needed:
        log.warning(
            "%s.json is not in sources.flickr.lists_dir: samples of training videos whose "
            "annotated frame it knows lie at the centre",
            name,
        )
        return None

    # HTF keeps these tables beside its preprocessing, not among its lists.
    return path or lists.get(ListFile("htf_frames", f"{name}.pickle"))


def _find_urls(lists: Lists, parameters: Parameters, wanted: Collection[str]) -> dict[str, str]:
    """Return the addresses of the wanted videos that ``urls_public.txt`` knows."""
    path = lists.find(URLS)
    if path is None:
        if lists.is_local or parameters.soundnet_url is None:
            log.warning(
                "urls_public.txt is not on this machine: "
                "the addresses of all videos are made from their ids alone"
            )
            return {}
        path = lists.get(URLS)

    urls = {}
    for video_id, address in read_addresses(path, wanted).items():
        # Not with `format`, which fails at other braces in an address.
        url = parameters.video_url.replace("{user}", address.user)
        url = url.replace("{secret}", address.secret)
        urls[video_id] = url.replace("{video_id}", video_id)

    # A missing address stops nothing: Flickr redirects from the bare id.
    num_wanted = len(wanted)
    if len(urls) < num_wanted:
        log.warning(
            "%s: has no address for %d of %d videos; theirs are made from their ids alone",
            path,
            num_wanted - len(urls),
            num_wanted,
        )
    return urls


def _read_annotations(parameters: Parameters, annotated: list[str]) -> dict[str, Truth]:
    """Read the boxes of annotated videos from the XML files in ``annotations_dir``."""
    if not annotated:
        return {}
    if parameters.annotations_dir is None:
        log.warning(
            "sources.flickr.annotations_dir is null: "
            "%d samples that could have boxes have none (see docs/datasets.md)",
            len(annotated),
        )
        return {}

    folder = Path(parameters.annotations_dir).expanduser().absolute()
    if not folder.is_dir():
        raise DataError(
            f"sources.flickr.annotations_dir is {parameters.annotations_dir!r}: "
            "found no such folder"
        )

    truths, absent = {}, []
    for clip_id in annotated:
        path = folder / f"{clip_id}.xml"
        if not path.is_file() and clip_id == CORRECT_ID:
            # The file can have the same typing error as the list.
            path = folder / f"{TYPO}.xml"
        if path.is_file():
            truths[clip_id] = read_flickr_xml(path)
        else:
            absent.append(clip_id)

    if absent:
        log.warning(
            "%s: has no XML for %d of %d samples (%s), which have no boxes",
            folder,
            len(absent),
            len(annotated),
            ", ".join(absent[:_NUM_NAMED]),
        )
    return truths


DATASET = Dataset(
    name="flickr",
    parameters=Parameters,
    build_tables=build_tables,
    box_rule="consensus",
    find_splits=lambda parameters: parameters.splits,
    clip_id_pattern=CLIP_ID,
    clip_id_words=CLIP_ID_WORDS,
    test_sets=(
        TestSet(
            "flickr",
            "flickr",
            "flickr_test",
            249,
            "LVS, EZ-VSL and SSPL report on these 249; HardPos and SLAVC on 250",
        ),
        TestSet("flickr_250", "flickr", SPLIT_250, 250, "the 249 and one more: HardPos and SLAVC"),
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
            EXTENDED_SPLIT,
            500,
            "the 250 and as many negatives of SLAVC: a frame with the sound of another clip",
        ),
    ),
    sources=(
        Source(
            "SoundNet's list of Flickr videos",
            "http://data.csail.mit.edu/soundnet",
            "each video has the licence that its uploader chose on Flickr",
        ),
        Source(
            "lists of EZ-VSL",
            "https://github.com/stoneMo/EZ-VSL",
            "see the repository",
        ),
        Source(
            "lists and frames of Hear The Flow",
            "https://github.com/denfed/heartheflow",
            "see the repository",
        ),
        Source("lists of SLAVC", "https://github.com/stoneMo/SLAVC", "see the repository"),
        Source(
            "boxes of Flickr-SoundNet's test images",
            "https://github.com/ardasnck/learning_to_localize_sound_source",
            "see the repository",
        ),
    ),
    find_published_test_sets=find_published_test_sets,
    whole_test_split=SPLIT_250,
    path_parameters=("lists_dir", "annotations_dir"),
    hand_parameters={"annotations_dir": "the boxes of its test images"},
    attributes={"frame_at_30_fps": Attribute({None: "frame {} at 30 fps"})},
)
