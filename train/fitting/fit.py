"""Train one model on cached features and write its run folder."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch

from earshot.errors import ParameterError, RunError
from earshot.files import remove_leftovers
from pipeline.base.parameters import as_mapping
from train.data.feature_readers import describe_features
from train.data.loader import BatchLoader
from train.data.neighbour_draws import NeighbourDraws
from train.fitting.devices import (
    TrainerPlan,
    count_workers,
    describe_device,
    plan_trainer,
    restore_torch_settings,
    silence_lightning,
)
from train.fitting.distributed import share_randomness, synchronize_statistics
from train.fitting.epoch_end import EpochEnd
from train.fitting.history import History, StepBar
from train.fitting.lightning_module import TrainingModule
from train.fitting.monitoring import make_callbacks, make_loggers
from train.fitting.selection import ScoreMaps, make_epoch_score, name_selection_score
from train.fitting.training_data import Sources, TrainingData, open_sources
from train.fitting.training_state import STATE_NAME, StateSaver, compute_fingerprint, find_state
from train.models.registry import make_model
from train.models.training_parameters import (
    HardwareParameters,
    MonitoringParameters,
    TrainingParameters,
)
from train.neighbours.neighbour_lists import NeighbourParameters, obtain_neighbours
from train.runs.run_folder import write_model, write_run
from train.weights.initialization import begins_trained, hash_first_weights, initialize


@dataclass(frozen=True, kw_only=True)
class FitFolders:
    """Where a run reads and writes."""

    run_dir: Path  # model.ckpt and run.json, when the run has ended
    log_dir: Path | None = None  # DVCLive's files; None: none are written
    state_dir: Path | None = None  # the state of an unfinished run; None: run_dir
    weights_dir: Path | None = None  # fetched ImageNet weights
    neighbours_dir: Path | None = None  # lists of nearest clips; None: below the state

    @property
    def state_path(self) -> Path:
        """The state from which a killed run resumes."""
        return (self.state_dir or self.run_dir) / STATE_NAME

    @property
    def loggers_dir(self) -> Path:
        """Where the loggers of ``MonitoringParameters`` write."""
        return self.state_path.parent / "logs"


@dataclass(frozen=True)
class FitResult:
    """What ``fit`` did; the same facts are in ``run.json``."""

    run_dir: Path
    selection: str  # val, test or last
    best_epoch: int  # from 0
    best_score: float
    num_epochs: int
    num_train: int
    num_unusable: Mapping[str, int]  # training samples that lack a feature, by reason
    history: Sequence[Mapping[str, float]]
    is_first_process: bool  # of those that train together; the others write nothing


class _Loaders(NamedTuple):
    train: BatchLoader
    val: BatchLoader | None  # None: no samples

    def close(self) -> None:
        """End the processes that read batches."""
        self.train.close()
        if self.val is not None:
            self.val.close()


class _Outcome(NamedTuple):
    """How training ended."""

    failure: RunError | None
    seconds: float
    device: torch.device  # where it was; the module is back on the CPU


def fit(
    parameters: TrainingParameters,
    data: TrainingData,
    folders: FitFolders,
    *,
    score_maps: ScoreMaps | None = None,
    hardware: HardwareParameters | None = None,
    monitoring: MonitoringParameters | None = None,
    state_key: str = "",
    is_quiet: bool = False,
) -> FitResult:
    """Train a model and publish the weights of its best epoch.

    A run that was killed resumes from its state when ``fit`` is called again with the same
    arguments. The state is removed when the run ends.

    Args:
        parameters: the method and how it is trained. ``select_on`` says which epoch is the best:
            the one with the highest score on the ``val`` or ``test`` set, or the ``last`` one.
        data: the samples.
        folders: where the run reads and writes.
        score_maps: scores the maps of the selection set. None: the score is minus its loss.
        hardware: where the run computes; changes the results only by rounding, and with
            ``negatives: local`` by the number of processes.
        monitoring: loggers and callbacks that watch the run.
        state_key: a hash of what else must be the same to resume, such as the cached features.
        is_quiet: print only warnings and the last line of progress.

    Returns:
        The best epoch and its score, the numbers of samples, and the values of every epoch.

    Raises:
        ParameterError: the parameters do not fit the samples or the hardware.
        DataError: two sets share a video, a feature is not cached, or too few samples are cached.
        RunError: the run went wrong (a value is not finite, or nothing is learned). The best
            weights until then are still published, and ``run.json`` says why the run stopped.
    """
    hardware = hardware or HardwareParameters()
    monitoring = monitoring or MonitoringParameters()
    data.check(parameters)

    plan = plan_trainer(parameters, hardware)

    with silence_lightning(), restore_torch_settings(plan.num_threads):
        # The network and the samples.
        module = _make_module(parameters, plan, weights_dir=folders.weights_dir)
        sources = open_sources(data, parameters, module.model, num_processes=plan.num_processes)

        if module.model.needs_neighbours:
            _use_neighbours(parameters, data, folders, sources, plan, is_quiet=is_quiet)

        # What happens after each step and epoch.
        score = make_epoch_score(parameters, sources.selection, score_maps)
        loggers = make_loggers(monitoring, folders.loggers_dir, run=folders.run_dir.name)
        history = History(folders.log_dir, loggers)
        epoch_end = EpochEnd(parameters, score=score, history=history, is_quiet=is_quiet)
        fingerprint = compute_fingerprint(
            parameters, sources, num_processes=plan.num_processes, key=state_key
        )
        state_saver = StateSaver(folders.state_path, fingerprint, parameters, hardware)
        step_bar = StepBar(parameters, is_quiet=is_quiet)
        callbacks = [epoch_end, *make_callbacks(monitoring), state_saver, step_bar]
        # `False`, since None would make Lightning choose a logger.
        trainer = lightning.Trainer(**plan.options, logger=loggers or False, callbacks=callbacks)
        _require_world_size(trainer, plan)

        # Batches, from memory on the device if the data fit there.
        sources.load_into_memory(
            limit_mb=hardware.memory_limit_mb,
            device=trainer.strategy.root_device,
            name=parameters.method,
            is_quiet=is_quiet,
        )
        loaders = _make_loaders(parameters, hardware, plan, sources, trainer)
        # The last step of an epoch may have fewer batches than ``accumulate``.
        module.num_steps_per_epoch = max(math.ceil(len(loaders.train) / parameters.accumulate), 1)
        if hardware.is_compiled:
            module.compile_network()

        outcome = _run(trainer, module, loaders, folders.state_path, fingerprint)

        # Publish the best weights also if the run went wrong.
        result = _summarize(parameters, folders, sources, epoch_end, trainer)
        if trainer.is_global_zero:
            selected_by = name_selection_score(parameters, score_maps)
            _publish(result, outcome, parameters, module, sources, epoch_end, selected_by)
        if outcome.failure is not None:
            raise outcome.failure

        # Only now. A kill before this line resumes from the state.
        if trainer.is_global_zero:
            folders.state_path.unlink(missing_ok=True)
        return result


def _require_world_size(trainer: lightning.Trainer, plan: TrainerPlan) -> None:
    """Fail if some parts of a batch would go to no process."""
    if trainer.world_size != plan.num_processes:
        raise ParameterError(
            f"{plan.num_processes} training processes are planned, but Lightning would run "
            f"{trainer.world_size}; start the run once, or with torchrun or srun"
        )


def _make_module(
    parameters: TrainingParameters,
    plan: TrainerPlan,
    *,
    weights_dir: Path | None,
) -> TrainingModule:
    """Make the network with its first weights, ready for several processes."""
    model = make_model(parameters)
    initialize(model, parameters, weights_dir=weights_dir)

    if plan.num_processes > 1:
        share_randomness(model)

    # Processes that exchange embeddings must also agree on the statistics of the whole batch.
    if plan.num_processes > 1 and parameters.negatives == "gathered":
        model = synchronize_statistics(model, is_cuda=plan.is_cuda)

    # Convolutions over time have no such layout.
    has_time = any(values.ndim > 4 for values in model.parameters())
    is_channels_last = plan.is_channels_last and not has_time
    if is_channels_last:
        model = model.to(memory_format=torch.channels_last)
    return TrainingModule(model, parameters, is_channels_last=is_channels_last)


def _use_neighbours(
    parameters: TrainingParameters,
    data: TrainingData,
    folders: FitFolders,
    sources: Sources,
    plan: TrainerPlan,
    *,
    is_quiet: bool,
) -> None:
    """Find the nearest clips of each training sample, and add them to its batches."""
    values = as_mapping(parameters)
    neighbours = obtain_neighbours(
        NeighbourParameters(
            **{field.name: values[field.name] for field in fields(NeighbourParameters)}
        ),
        sources.train.sample_ids,
        data.features_dirs,
        folders.neighbours_dir or folders.state_path.parent / "neighbours",
        weights_dir=folders.weights_dir,
        device=torch.device("cuda" if plan.is_cuda else "cpu"),
        is_quiet=is_quiet,
    )
    draws = NeighbourDraws(neighbours.frames, neighbours.sounds, parameters.seed)
    sources.train.use_neighbours(draws)


def _make_loaders(
    parameters: TrainingParameters,
    hardware: HardwareParameters,
    plan: TrainerPlan,
    sources: Sources,
    trainer: lightning.Trainer,
) -> _Loaders:
    """Make the loaders of training and, if there are samples for it, of validation."""
    options: dict[str, Any] = {
        "batch_size": parameters.batch_size,
        "num_workers": count_workers(hardware, is_cuda=plan.is_cuda),
        "device": trainer.strategy.root_device,
        "num_processes": plan.num_processes,
        "rank": trainer.global_rank,
    }

    # The negatives of a training batch are its other samples, so all batches have the same size.
    shuffle_seed = parameters.seed if parameters.is_shuffled else None
    train = BatchLoader(sources.train, shuffle_seed=shuffle_seed, keeps_last=False, **options)
    if len(sources.selection) == 0:
        return _Loaders(train, None)

    # A process that does not share embeddings needs a negative in its own part.
    smallest_part = 1 if parameters.negatives == "gathered" else 2
    return _Loaders(train, BatchLoader(sources.selection, smallest_part=smallest_part, **options))


def _run(
    trainer: lightning.Trainer,
    module: TrainingModule,
    loaders: _Loaders,
    state_path: Path,
    fingerprint: str,
) -> _Outcome:
    """Train, and begin with the state of a killed run if there is one."""
    device = trainer.strategy.root_device

    # A process that was killed while it wrote its state has left a temporary file.
    if trainer.is_global_zero:
        remove_leftovers(state_path.parent)
    state = find_state(state_path, fingerprint=fingerprint, name=module.train_parameters.method)

    failure = None
    start = time.monotonic()
    try:
        trainer.fit(
            module,
            train_dataloaders=loaders.train,
            val_dataloaders=loaders.val,
            ckpt_path=state,
            # Load tensors only: a state may not run code.
            weights_only=None if state is None else True,
        )
    except RunError as error:
        # The best weights before that are still published.
        failure = error
    except SystemExit:
        # Lightning turns Ctrl-C into this. The last state stays.
        raise KeyboardInterrupt from None
    finally:
        loaders.close()
    return _Outcome(failure, time.monotonic() - start, device)


def _summarize(
    parameters: TrainingParameters,
    folders: FitFolders,
    sources: Sources,
    epoch_end: EpochEnd,
    trainer: lightning.Trainer,
) -> FitResult:
    return FitResult(
        run_dir=folders.run_dir,
        selection=parameters.select_on,
        best_epoch=epoch_end.best.epoch,
        best_score=epoch_end.best.score,
        num_epochs=epoch_end.num_epochs,
        num_train=len(sources.train),
        num_unusable=dict(sources.num_unusable),
        history=epoch_end.history.rows,
        is_first_process=trainer.is_global_zero,
    )


def _publish(
    result: FitResult,
    outcome: _Outcome,
    parameters: TrainingParameters,
    module: TrainingModule,
    sources: Sources,
    epoch_end: EpochEnd,
    selected_by: str | None,
) -> None:
    """Write the best weights, if there are any, and what happened."""
    if epoch_end.best.weights is not None:
        module.model.load_state_dict(epoch_end.best.weights)
        features = describe_features(sources.readers)
        write_model(result.run_dir, module.model, parameters, features=features)

    failure = outcome.failure
    facts = {
        "method": parameters.method,
        "parameters": as_mapping(parameters),
        "status": "ok" if failure is None else "stopped",
        "reason": None if failure is None else str(failure),
        "initial_sha256": hash_first_weights(parameters),
        "is_initially_trained": begins_trained(parameters),
        "selection": result.selection,
        "selected_by": selected_by,
        "best_epoch": result.best_epoch,
        # JSON has no infinity, which is the score before the first epoch.
        "best_score": result.best_score if np.isfinite(result.best_score) else None,
        "num_epochs": result.num_epochs,
        "is_stopped_early": epoch_end.is_stopped_early,
        "num_train": result.num_train,
        "num_unusable": result.num_unusable,
        "num_parameters": sum(values.numel() for values in module.model.parameters()),
        "seconds": round(outcome.seconds, 1),
        "versions": {"torch": torch.__version__, "lightning": lightning.__version__},
        "device": describe_device(outcome.device),
        "history": list(result.history),
    }
    write_run(result.run_dir, facts)
