"""Who takes part in an evaluation: trained models, untrained networks and baselines, all as producers of maps."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from earshot.errors import ParameterError
from eval.entrants.baselines import centre_map, flow_map, random_map, uniform_map
from eval.entrants.vision_only import VisionOnlyMaps
from pipeline.datasets.dataset import load

FLOW_BASELINES = {"flow": "signed", "flow_8bit": "flowgrad", "flow_jpeg": "htf"}
NORMALIZED = "_normalized"
KINDS = ("model", "baseline", "untrained", "trivial")  # in the order of the tables
BASELINES = (
    "centre",
    "uniform",
    "random",
    *FLOW_BASELINES,
    *(f"{name}{NORMALIZED}" for name in FLOW_BASELINES),
)


@dataclass(frozen=True)
class Entrant:
    """A name in the tables and how it makes its maps.

    ``predict(sample_ids, readers)`` gives one map (h, w) a sample; ``reads`` names the features that it needs.
    ``is_kept``: its maps are worth a file (trivial ones are not). ``train_dataset``: whose clips ``train_clip_ids``
    are. The rest is as in ``evaluation.ModelMaps``.
    """

    name: str
    kind: str  # one of KINDS
    predict: Callable[[Sequence[str], Mapping], Sequence[np.ndarray]]
    reads: tuple[str, ...] = ()
    is_absolute: bool = False
    is_kept: bool = False
    seed: int | None = None
    selection: str = "none"
    train_dataset: str | None = None
    train_clip_ids: Collection[str] | None = None

    def __post_init__(self):
        assert self.kind in KINDS, f"{self.name}: {self.kind!r} is not one of {', '.join(KINDS)}"

    def train_clips_in(self, dataset: str) -> Collection[str] | None:
        """The clips of ``dataset`` that are in the training data; None where that is not known.

        Ids name clips within a dataset: equal ids of two datasets are chance, and no two published datasets have a
        clip in common. Only a folder of the user's own may hold clips of others.
        """
        if self.train_clip_ids is None or self.train_dataset == dataset or not self.train_clip_ids:
            return self.train_clip_ids
        names = [name for name in (self.train_dataset, dataset) if name is not None]
        return None if any(load(name).may_share_clips for name in names) else ()


def make_baseline(name: str) -> Entrant:
    """One of ``BASELINES``.

    ``flow`` is the magnitude of the signed flow, ``flow_8bit`` FlowGrad's coding of it, ``flow_jpeg`` Hear The Flow's.
    They are in pixels of motion, which FlowGrad's code does not normalize: under its protocol a pixel counts from 0.5
    on. ``<name>_normalized`` is the same map scored as a model's is, min-max normalized.
    """
    if name == "centre":
        return Entrant(name, "trivial", lambda ids, readers: [centre_map()] * len(ids))
    if name == "uniform":
        return Entrant(name, "trivial", lambda ids, readers: [uniform_map()] * len(ids))
    if name == "random":
        return Entrant(
            name,
            "trivial",
            lambda ids, readers: [random_map(sample_id) for sample_id in ids],
            seed=0,
        )
    if name in BASELINES:
        coding = FLOW_BASELINES[name.removesuffix(NORMALIZED)]
        return Entrant(
            name,
            "baseline",
            lambda ids, readers: FlowMaps(ids, readers["flow"], coding=coding),
            reads=("flow",),
            is_absolute=not name.endswith(NORMALIZED),
        )
    known = ", ".join((*BASELINES, "ogl_l1", "ogl_cls"))
    raise ParameterError(f"params: evaluate.baselines has {name!r}, expected some of {known}")


def make_vision_only() -> Entrant:
    """The topline ``vision_only``, from the cached feature ``detections``."""
    return Entrant(
        "vision_only",
        "baseline",
        lambda ids, readers: VisionOnlyMaps(ids, readers["detections"]),
        reads=("detections",),
        is_absolute=True,
    )


class FlowMaps(Sequence):
    """Maps of the flow baseline, made when they are asked for: thousands of them would not fit in memory."""

    def __init__(self, sample_ids: Sequence[str], reader, *, coding: str):
        self._sample_ids, self._reader, self._coding = list(sample_ids), reader, coding

    def __len__(self) -> int:
        return len(self._sample_ids)

    def __getitem__(self, position: int) -> np.ndarray:
        flow = np.asarray(self._reader.read(self._sample_ids[position]), np.float32)
        return flow_map(flow, coding=self._coding)


def choose_available(
    sample_ids: Sequence[str], reads: Sequence[str], readers: Mapping
) -> tuple[list[str], dict[str, str]]:
    """The samples that have all features in ``reads``, and for each other one the reason of the first that it lacks."""
    available, reasons = [], {}
    for sample_id in sample_ids:
        lacking = [name for name in reads if sample_id not in readers[name]]
        if lacking:
            reasons[sample_id] = f"{lacking[0]}: {readers[lacking[0]].reason(sample_id)}"
        else:
            available.append(sample_id)
    return available, reasons
