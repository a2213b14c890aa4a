"""The clips that a model was trained on, and which test clips are among them."""

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa

from pipeline.datasets.dataset import load
from pipeline.lists.origins import find_made_from, read_origins


@dataclass(frozen=True)
class SeenClips:
    """The clips of a dataset that a model was trained on, and those of which nobody knows."""

    clip_ids: Collection[str]
    unknown_ids: Collection[str] = ()


@dataclass(frozen=True)
class TrainingClips:
    """The clips that a model was trained on."""

    dataset: str | None  # that the ids belong to; None: nothing was trained
    clip_ids: Collection[str]

    def find_in(self, dataset: str, samples: pa.Table) -> SeenClips | None:
        """Return which clips of ``dataset`` are in the training data.

        An id names a clip within its dataset: two datasets have equal ids by chance, and no two
        published datasets share a clip. But test sets of still pictures are made from clips of
        others, and a folder or a list of the user's own may hold any.

        Args:
            dataset: that is tested.
            samples: its table SAMPLES.

        Returns:
            The clips, or None where nobody knows of any clip.
        """
        # Empty is not trained, which holds for every dataset.
        if not self.clip_ids or self.dataset == dataset:
            return SeenClips(self.clip_ids)
        if self.dataset is None or load(self.dataset).may_share_clips:
            return None

        tested = load(dataset)
        if not tested.may_share_clips:
            return SeenClips(())
        if tested.made_from is None:
            return None

        # What the test clips are made from is known of some.
        origins = read_origins(samples)
        made_from = (
            find_made_from(origins, self.clip_ids) if self.dataset == tested.made_from else set()
        )
        return SeenClips(made_from, {clip_id for clip_id, words in origins.items() if not words})
