"""A page of samples without any result: to look at data before something is trained."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from earshot.errors import DataError, ParameterError
from earshot.files import publish_text
from eval.report.data.inputs import DatasetInputs, load_dataset
from eval.report.data.sample_scores import SampleScores
from eval.report.gallery.cards import CardMaker
from eval.report.gallery.form import view_form, view_gallery_data
from eval.report.page import render_gallery_page
from pipeline.base.parameters import suggest
from pipeline.base.project import Project


def write_browse_page(
    project: Project,
    dataset: str,
    *,
    split: str | None,
    num_samples: int,
    seed: int,
    path: Path,
) -> str:
    """Write a page of random samples.

    Args:
        project: the checkout; the tables of the dataset exist, and some feature is cached.
        dataset: its name.
        split: samples of this split; None: of all.
        num_samples: at most so many.
        seed: of the choice; the samples stand in the order of their ids.
        path: of the page.

    Returns:
        A sentence that says what was written.

    Raises:
        ParameterError: the dataset has no such split.
        DataError: a table does not exist, or no sample of the split has a feature.
    """
    inputs = load_dataset(project, dataset, [])

    chosen = _choose(inputs, split, num_samples, seed)
    # Before anything is evaluated there are neither scores nor maps.
    maker = CardMaker(
        inputs,
        SampleScores(dataset, "", {}),
        models=(),
        subsets=(),
        has_sound=True,
        num_all_samples=len(chosen),
    )
    cards = [maker.make_card(sample_id, ()) for sample_id in chosen]

    place = f"{dataset}, {split}" if split else dataset
    page = render_gallery_page(
        title=f"{len(cards)} samples of {place}",
        gallery=view_form(cards, ()),
        gallery_data=view_gallery_data(cards, ()),
    )
    publish_text(path, page)
    return f"{path}: {len(cards)} samples of {place}, {len(page) / 1e6:.1f} MB"


def _choose(inputs: DatasetInputs, split: str | None, num_samples: int, seed: int) -> Sequence[str]:
    """Choose random samples of which some feature is cached."""
    columns = inputs.samples.select(["sample_id", "splits"]).to_pydict()
    members = [
        sample_id
        for sample_id, splits in zip(*columns.values(), strict=True)
        if split is None or split in (splits or ())
    ]
    if not columns["sample_id"]:
        raise DataError(f"{inputs.name}: there are no samples, so there is nothing to show")
    if not members:
        known = sorted({name for splits in columns["splits"] for name in splits or ()})
        raise ParameterError(
            f"--split is {split!r}, which no sample of {inputs.name} has"
            f"{suggest(split, known)}; splits: {', '.join(known)}"
        )

    # What a card can draw: a sample with none of these would be an empty one.
    drawn = ("frames", "flow", "spectrograms")
    readers = [inputs.readers[name] for name in drawn if name in inputs.readers]
    cached = {sample_id for reader in readers for sample_id in reader.sample_ids}
    # Sorted, so that one seed draws the same samples each time.
    members = sorted(cached.intersection(members))
    if not members:
        raise DataError(
            f"{inputs.name}: none of the samples of {split or 'any split'} is cached; run "
            f"`dvc repro frames@{inputs.name}`"
        )

    rng = np.random.default_rng(seed)
    places = rng.permutation(len(members))[:num_samples]
    return sorted(members[place] for place in places)
