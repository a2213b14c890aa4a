"""The lines of ``plan`` about training: one for each run, from rates of this machine."""

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import ParameterError
from pipeline.base.parameters import find_section
from pipeline.base.project import Project
from pipeline.commands.step_rates import find_step_rates
from pipeline.commands.training_rates import (
    PastTraining,
    RunSettings,
    find_rate,
    list_trained_runs,
    read_past_trainings,
)
from pipeline.downloads.parameters import DownloadParameters

# Of a training split, the share that can be held out for validation where it has few videos.
_LARGEST_HELD_OUT = 0.2


@dataclass(frozen=True)
class PlannedDataset:
    """What is known about the samples of a dataset before its stages run."""

    samples: pa.Table  # SAMPLES
    pending: pa.Array  # ids of clips that will be fetched
    lost: pa.Array  # ids of clips that are missing or will not be fetched
    num_to_compute: Mapping[str, int]  # samples by feature

    @classmethod
    def choose(
        cls,
        project: Project,
        samples: pa.Table,
        clips: pa.Table,
        downloads: pa.Table,
        num_to_compute: Mapping[str, int],
    ) -> "PlannedDataset":
        """Choose the clips that will be fetched, and those that will not be here.

        Args:
            project: The checkout with the parameters that are planned for.
            samples: Table SAMPLES.
            clips: Table CLIPS.
            downloads: Table DOWNLOADS with the rows of ``clips``, in their order.
            num_to_compute: Samples that are to be computed, by feature.
        """
        is_pending = pc.equal(downloads["status"], "pending")
        # Without the network, only files of this machine arrive.
        if not project.parameters(DownloadParameters, "download").network:
            is_pending = pc.and_(is_pending, pc.starts_with(clips["url"], "file:"))
        is_lost = pc.invert(pc.or_(is_pending, pc.equal(downloads["status"], "ok")))
        pending, lost = (
            clips["clip_id"].filter(is_chosen).combine_chunks()
            for is_chosen in (is_pending, is_lost)
        )
        return cls(samples, pending, lost, num_to_compute)

    def count_split(self, split: str) -> "_SplitCounts":
        """Count the samples of a split."""
        splits = self.samples["splits"].combine_chunks()
        is_of_split = pc.equal(pc.list_flatten(splits), split)
        rows = pc.unique(pc.list_parent_indices(splits).filter(is_of_split))
        samples = self.samples.select(["clip_id", "audio_clip_id"]).take(rows)
        return _SplitCounts(
            num_listed=len(samples),
            num_usable=len(samples) - _count_of_clips(samples, self.lost),
            num_pending=_count_of_clips(samples, self.pending),
        )


@dataclass(frozen=True)
class _SplitCounts:
    num_listed: int
    num_usable: int  # those whose clip is here or will be
    num_pending: int


def _count_of_clips(samples: pa.Table, clip_ids: pa.Array) -> int:
    """Return how many samples take picture or sound from one of the clips."""
    is_of_clips = pc.or_(
        pc.is_in(samples["clip_id"], clip_ids), pc.is_in(samples["audio_clip_id"], clip_ids)
    )
    return pc.sum(is_of_clips).as_py() or 0


def plan_trainings(
    planned: Project,
    now: Project,
    datasets: Mapping[str, PlannedDataset],
    notes: list[str],
    *,
    is_anew: bool,
) -> list[dict[str, Any]]:
    """Return a line for each run that ``models`` names, or that such a run begins with.

    Args:
        planned: The checkout with the parameters that are planned for.
        now: The checkout with its own parameters, which its trainings had.
        datasets: By name, those of which the samples are known.
        notes: What else is to be said is added.
        is_anew: Whether to measure the step of runs that no training of this checkout is like.

    Raises:
        ParameterError: A run is not in section ``train``, or its preset is not known.
    """
    runs = list_trained_runs(planned)
    past = read_past_trainings(now) if runs else []
    hardware = find_section(planned.params, "hardware")
    rows: list[dict[str, Any]] = []
    by_rate: dict[str, list[str]] = defaultdict(list)
    without_rate: list[tuple[RunSettings, dict[str, Any], int]] = []
    trained_first: list[RunSettings] = []

    for run in runs:
        stage = f"train@{run.name}"
        if run.dataset not in datasets:
            # Without a list, a note about the dataset says so already.
            if run.dataset not in planned.datasets:
                notes.append(f"{stage}: trains on {run.dataset}, which is not planned here")
            continue

        row, to_train = _count_samples(run, datasets[run.dataset], past)
        if row["there"] + row["to_do"] == 0:
            split = run.parameters.get("train_split")
            has_samples = bool(datasets[run.dataset].count_split(str(split)).num_listed)
            lack = "clips here, or to fetch, of" if has_samples else "samples in"
            notes.append(f"{stage}: not trained, since {run.dataset} has no {lack} {split!r}")
            continue
        rows.append(row)
        if not row["to_do"]:
            row |= {"hours": 0.0, "cpu_hours": 0.0}
            continue

        # Runs that train equal weights train them once.
        twin = next((other for other in trained_first if _is_same_training(run, other)), None)
        if twin is not None:
            row |= {"hours": 0.0, "cpu_hours": 0.0}
            notes.append(f"{stage}: its weights are those of {twin.name}, which has the hours")
            continue
        trained_first.append(run)

        if run.parameters.get("early_stop_patience"):
            notes.append(f"{stage}: the hours are of all epochs, but it may stop early")
        rate = find_rate(run, past, accelerator=hardware.get("accelerator", "auto"))
        if rate is None:
            without_rate.append((run, row, to_train))
            continue
        assert rate.rate is not None
        row |= _count_hours(to_train / rate.rate, hardware, device=rate.device)
        of_training = f"measured in the training of {rate.settings.name}, {rate.day}"
        by_rate[_describe(rate.rate, rate.device, of_training)].append(stage)

    # The others have a rate if their step was measured.
    others = [(run, row["to_do"]) for run, row, _ in without_rate]
    steps = find_step_rates(planned, others, is_measured=is_anew, notes=notes)
    uncounted = []
    for run, row, to_train in without_rate:
        step = steps.get(run.name)
        if step is None:
            uncounted.append(row["stage"])
            continue
        row |= _count_hours(to_train / step.samples_per_second, hardware, device=step.device)
        of_steps = f"measured on steps without reading inputs, {step.measured}"
        text = _describe(step.samples_per_second, step.device, of_steps)
        by_rate[text].append(row["stage"])

    notes += [f"{', '.join(stages)}: {text}" for text, stages in by_rate.items()]
    if uncounted:
        notes.append(
            f"{', '.join(uncounted)}: hours are not counted, since this checkout has trained no "
            "run of this method, sizes, batch and inputs; `--measure` measures the training step"
        )
    return rows


def _count_samples(
    run: RunSettings, dataset: PlannedDataset, past: list[PastTraining]
) -> tuple[dict[str, Any], int]:
    """Return the line of a run without hours, and how many samples its epochs see together."""
    parameters = run.parameters
    counts = dataset.count_split(str(parameters.get("train_split")))
    num_held_out = _count_held_out(run, dataset, counts.num_listed)

    # More clips or other arrays are another training.
    to_compute = [dataset.num_to_compute.get(name, 0) for name in run.reads]
    is_complete = not counts.num_pending and not any(to_compute)
    is_trained = is_complete and any(
        training.is_whole
        and _is_same_training(run, training.settings)
        and _is_same_number(training.num_samples, counts.num_listed, num_held_out)
        for training in past
    )

    number = max(counts.num_usable - num_held_out, 0)
    # An incomplete batch is left out of each epoch.
    where = f"train.{run.name}"
    batch_size = max(_get_number(parameters, "batch_size", 1, where=where), 1)
    num_in_epoch = number // batch_size * batch_size or number
    row = {
        "dataset": run.dataset,
        "stage": f"train@{run.name}",
        "there": number if is_trained else 0,
        "to_do": 0 if is_trained else number,
    }
    return row, num_in_epoch * _get_number(parameters, "epochs", 0, where=where)


def _count_held_out(run: RunSettings, dataset: PlannedDataset, num_listed: int) -> int:
    """Return about how many training samples become validation samples."""
    parameters = run.parameters
    if parameters.get("select_on") != "val":
        return 0
    if dataset.count_split(str(parameters.get("val_split"))).num_listed:
        return 0
    num_wanted = _get_number(parameters, "num_held_out", 0, where=f"train.{run.name}")
    return min(num_wanted, num_listed // 10)


def _is_same_number(found: int, num_listed: int, num_held_out: int) -> bool:
    """Return whether a training had the samples of a split, less those that it held out."""
    if not num_held_out:
        return found == num_listed
    # Whole videos are held out, so they can be more samples than were wanted.
    return (1 - _LARGEST_HELD_OUT) * num_listed <= found <= num_listed - num_held_out


def _is_same_training(run: RunSettings, other: RunSettings) -> bool:
    is_same = run.parameters == other.parameters and run.dataset == other.dataset
    return is_same and run.has_inputs_of(other)


def _count_hours(seconds: float, hardware: Mapping[str, Any], *, device: str) -> dict[str, float]:
    hours = seconds / 3600
    num_nodes = _get_number(hardware, "num_nodes", 1, where="hardware")
    num_devices = _get_number(hardware, "devices", 0, where="hardware")
    num_processes = max(num_devices, 1) * num_nodes
    if device != "cpu":
        return {"hours": hours, "gpu_hours": hours * num_processes}

    # Without a number, torch uses all cores.
    num_threads = _get_number(hardware, "num_threads", 0, where="hardware")
    num_cores = num_threads * num_processes if num_threads else os.cpu_count() or 1
    return {"hours": hours, "cpu_hours": hours * num_cores}


def _get_number(values: Mapping[str, Any], key: str, default: int, *, where: str) -> int:
    number = values.get(key, default)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ParameterError(f"params: {where}.{key} is {number!r}, expected a whole number")
    return number


def _describe(rate: float, device: str, how: str) -> str:
    where = "the CPU" if device == "cpu" else device
    return f"hours are from a rate of this machine: {rate:.3g} samples a second on {where}, {how}"
