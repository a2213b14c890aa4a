"""The interface of a dataset, and how to find the datasets in this folder.

Nothing outside a dataset's own module knows the dataset by its name: a stage, the audit, the
evaluation and the report all ask the fields of ``Dataset``.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from earshot.errors import ParameterError

if TYPE_CHECKING:  # commands list the datasets and must start quickly
    import pyarrow as pa

    from pipeline.base.project import Project

_FOLDER = Path(__file__).parent
_OWN_NAME = re.compile(r"[A-Za-z]\w*")
# Folders of the cache, beside those of datasets.
_OTHER_FOLDERS = frozenset(
    {"inputs", "labels", "maps", "neighbours", "runs", "training", "user_files", "weights"}
)

# How the boxes of a sample become its ground-truth map (see eval/scoring/ground_truth.py).
BoxRule = Literal["union", "consensus", "corner_size"]


class BuildTables(Protocol):
    """Turn a section of params.yaml into the CLIPS and SAMPLES tables of a dataset.

    Args:
        parameters: The section, as the dataset's own dataclass.
        cache_dir: ``cache/<dataset>``, or a folder of the storage, for lists and files that are
            fetched or made on the way.

    Raises:
        DataError: A list, an annotation or a file is absent or not as expected.
    """

    def __call__(self, parameters: Any, /, *, cache_dir: Path) -> tuple[pa.Table, pa.Table]: ...


class FindPublishedTestSets(Protocol):
    """List the test sets of the literature; read lists on this machine and fetch none."""

    def __call__(self, parameters: Any, /, *, cache_dir: Path) -> Sequence[PublishedTestSet]: ...


class HasChanged(Protocol):
    """Return whether the user's files differ from those of the last build."""

    def __call__(self, parameters: Any, /, *, cache_dir: Path) -> bool: ...


class FindSplits(Protocol):
    """Return the splits that the tables will have, from the parameters; None: not known yet."""

    def __call__(self, parameters: Any, /) -> Collection[str] | None: ...


class ReadAnnotations(Protocol):
    """Turn a published annotation file into a SAMPLES table."""

    def __call__(self, path: Path, /) -> pa.Table: ...


@dataclass(frozen=True)
class TestSet:
    """A test set that can be scored: one split of a dataset, with its name in the results."""

    __test__ = False  # not a class of tests, whatever pytest reads in its name

    name: str
    dataset: str
    split: str  # its name in the samples table
    num_published: int  # samples, negatives included; 0: nobody published it
    note: str  # who reports on it, and what to beware of
    # Why nobody knows which videos its samples are made from: a sentence without its full stop.
    origin_note: str = ""


@dataclass(frozen=True)
class PublishedTestSet:
    """A set of clips that papers report on, with which the coverage audit compares."""

    name: str
    used_by: str  # papers
    num_clips: int
    clip_ids: frozenset[str] | None = None  # None: the list is not on this machine


@dataclass(frozen=True)
class AnnotationFile:
    """A published file that alone gives the ground truth of one test set."""

    name: str
    test_set: str
    read: ReadAnnotations


@dataclass(frozen=True)
class Source:
    """Something that others published and that the dataset is made from."""

    name: str
    url: str
    licence: str  # one sentence; what nobody here knows for certain is said to be unknown


@dataclass(frozen=True)
class Attribute:
    """How results and the report speak of one attribute of the samples table.

    ``phrases`` maps a value (in lower case) to what the report says of the sample. The key None
    stands for all other values; ``{}`` in a phrase is replaced by the value.
    """

    phrases: Mapping[str | None, str] = field(default_factory=dict)
    breakdown: str | None = None  # results are broken down by this attribute under this name
    groups: Mapping[str, str] = field(default_factory=dict)  # value -> group; else the value


@dataclass(frozen=True)
class Dataset:
    """Everything that is particular to one dataset."""

    name: str
    # The dataclass of section `sources.<name>` of params.yaml. It is a subclass of `Selection`
    # (`pipeline/lists/selection.py`), whose keys every dataset has.
    parameters: type[Any]
    build_tables: BuildTables
    box_rule: BoxRule

    # What a clip id must look like, as a pattern and in words for error messages.
    clip_id_pattern: re.Pattern[str] = re.compile(r"[^\s,]+")
    clip_id_words: str = "an id"

    # Making the tables fetches or makes media, which takes long.
    lists_media: bool = False
    # Clips are the user's own files: the download stage links them and never changes them.
    is_linked: bool = False
    # A folder of anything may hold clips of other datasets, so leakage cannot be counted.
    may_share_clips: bool = False
    # The dataset whose clips its samples are made from. Where a sample names them
    # (`pipeline/lists/origins.py`), its leakage can be counted all the same.
    made_from: str | None = None
    # Whether files that no parameter names changed since they were listed. None: there are none.
    has_changed: HasChanged | None = None

    # The splits of its tables, before they are made. None: only the tables know.
    find_splits: FindSplits | None = None
    # Test splits besides those that have the word `test` in their name.
    test_splits: frozenset[str] = frozenset()
    test_sets: tuple[TestSet, ...] = ()
    find_published_test_sets: FindPublishedTestSets | None = None

    # For scoring maps without a pipeline: the split that holds all test clips of the published
    # lists, and the parameters that say where lists and annotations lie on this machine.
    whole_test_split: str | None = None
    path_parameters: tuple[str, ...] = ()
    # Parameters that name a folder of the user's own with media and annotations. Without one, so
    # many gigabytes are fetched when the tables are made.
    release_parameters: tuple[str, ...] = ()
    release_gigabytes: float = 0.0
    # Parameters for what the user has to download by hand -> what it is. Without it, test samples
    # have no boxes.
    hand_parameters: Mapping[str, str] = field(default_factory=dict)
    annotation_file: AnnotationFile | None = None

    # What it is made from, for those who get a copy. Empty: files of the user's own.
    sources: tuple[Source, ...] = ()

    # Attributes of the samples table by name.
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    # Breakdowns by split: name of the breakdown -> split -> name of the group.
    split_breakdowns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def find_user_paths(about: Dataset, parameters: Any) -> list[Path]:
    """Return the files and folders of the user's own that the tables of a dataset are made from.

    Those of which a dataset with ``has_changed`` keeps its own account are not among them.

    Args:
        about: The dataset.
        parameters: Its section of params.yaml, as its dataclass.
    """
    names = ("ids", *about.path_parameters, *about.release_parameters)
    values = [getattr(parameters, name) for name in names]
    return [Path(value).expanduser().absolute() for value in values if value is not None]


def describe_hand_work(project: Project, datasets: Sequence[str]) -> list[str]:
    """Return sentences about what the user has to download by hand for the chosen test splits.

    Args:
        project: The checkout.
        datasets: Their names.

    Raises:
        ParameterError: The section of a dataset is wrong.
    """
    sentences = []
    for name in datasets:
        about = load(name)
        if not about.hand_parameters:
            continue
        parameters = project.parameters(about.parameters, f"sources.{name}")
        # Training samples need no boxes.
        if not any("test" in split.split("_") for split in parameters.splits):
            continue
        sentences += [
            f"{name}: {what} are a download by hand (docs/datasets.md); until "
            f"sources.{name}.{key} names their folder, nothing of {name} can be scored"
            for key, what in about.hand_parameters.items()
            if getattr(parameters, key) is None
        ]
    return sentences


def find_excluded_flags(project: Project, dataset: str) -> frozenset[str]:
    """Return the flags whose clips a dataset leaves out (``exclude_flags``).

    Args:
        project: The checkout. A dataset that is listed and no longer in its params.yaml has none.
        dataset: Name of the dataset.

    Raises:
        ParameterError: The section is wrong.
    """
    if dataset not in (project.params.get("sources") or {}):
        return frozenset()
    parameters = project.parameters(load(dataset).parameters, f"sources.{dataset}")
    return frozenset(parameters.exclude_flags)


def find_known_splits(project: Project, dataset: str) -> Collection[str] | None:
    """Return the splits that the tables of a dataset will have; None: only the tables know.

    Args:
        project: The checkout.
        dataset: Name of the dataset.

    Raises:
        ParameterError: The section is wrong.
    """
    about, sections = load(dataset), project.params.get("sources")
    if about.find_splits is None or not isinstance(sections, Mapping) or dataset not in sections:
        return None
    return about.find_splits(project.parameters(about.parameters, f"sources.{dataset}"))


def names() -> tuple[str, ...]:
    """Return the names of all datasets in this folder, sorted."""
    # By the names of files, so that no dataset has to be imported.
    modules = {path.stem for path in _FOLDER.glob("*.py")} - {"__init__", "listing", "dataset"}
    packages = {path.parent.name for path in _FOLDER.glob("*/dataset.py")}
    return tuple(sorted(modules | packages))


def load(name: str) -> Dataset:
    """Import the module of one dataset and of no other.

    Args:
        name: One of ``names()``, or of the user's own: such a dataset is a table (``table.py``),
            and section ``sources.<name>`` says where.

    Returns:
        The module's ``DATASET``.

    Raises:
        ParameterError: No dataset can have this name.
    """
    if name not in names():
        if name in _OTHER_FOLDERS:
            raise ParameterError(
                f"params: datasets has {name!r}, but cache/{name} holds something else; expected "
                "another name"
            )
        if not _OWN_NAME.fullmatch(name):
            raise ParameterError(
                f"params: datasets has {name!r}, expected one of {', '.join(names())}, or a name "
                "of letters, digits and '_' for a table of your own"
            )
        return replace(load("table"), name=name)

    is_package = (_FOLDER / name).is_dir()
    module_name = f"pipeline.datasets.{name}"
    module = importlib.import_module(f"{module_name}.dataset" if is_package else module_name)
    dataset = module.DATASET
    assert dataset.name == name, f"{module.__name__} calls its dataset {dataset.name!r}"
    return dataset


def find_own_tables(params: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the datasets that params.yaml makes from tables of the user's own."""
    sections = params.get("sources")
    if not isinstance(sections, Mapping):
        return ()
    return tuple(
        name
        for name, section in sections.items()
        if name not in names() and isinstance(section, Mapping) and section.get("kind") == "table"
    )


def check_test_splits(
    subsets: object,
    *,
    own_tables: Collection[str] | None = None,
    parameter: str = "evaluate.subsets",
) -> dict[str, list[str]]:
    """Check the value of ``evaluate.subsets``: dataset -> the splits that are its test sets.

    Args:
        subsets: The value.
        own_tables: Datasets besides those of this folder (``find_own_tables``). None: their names
            are not known here, so any name is accepted.
        parameter: What the value is, for messages.

    Returns:
        The same mapping, with lists.

    Raises:
        ParameterError: It is no such mapping, or names an unknown dataset.
    """
    if not isinstance(subsets, Mapping):
        raise ParameterError(
            f"params: {parameter} is {subsets!r}, expected datasets with lists of splits"
        )

    for dataset, splits in subsets.items():
        # A misspelled dataset would have no test set, and nothing would say so.
        if own_tables is not None and dataset not in (*names(), *own_tables):
            raise ParameterError(
                f"params: {parameter} names the dataset {dataset!r}, expected some of "
                f"{', '.join((*names(), *own_tables))}"
            )
        # A single name is a string, which would be read letter by letter.
        is_list = isinstance(splits, list | tuple)
        if not is_list or not all(isinstance(split, str) for split in splits):
            raise ParameterError(
                f"params: {parameter}.{dataset} is {splits!r}, expected a list of splits"
            )
    return {dataset: list(splits) for dataset, splits in subsets.items()}
