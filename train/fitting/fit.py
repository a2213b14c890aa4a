"""Train a model on cached features: ``fit``."""

import functools
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
import torch

from earshot.errors import DataError, ParameterError, RunError
from earshot.files import remove_leftovers
from pipeline.base.parameters import as_mapping
from pipeline.base.progress import Progress
from train.data.feature_readers import choose_usable, describe_features, open_readers
from train.data.loader import BatchLoader
from train.data.random_crops import RandomCrops
from train.data.sample_source import SampleSource
from train.data.splits import require_disjoint
from train.fitting.best_weights import Keeper, read_fingerprint
from train.fitting.devices import (
    count_workers,
    describe_device,
    plan_trainer,
    quiet_lightning,
    torch_settings,
)
from train.fitting.distributed import synchronize_statistics
from train.fitting.history import History, StepBar
from train.fitting.lightning_module import TrainingModule
from train.inference.predictor import Predictor
from train.models.registry import make_model
from train.models.training_parameters import HardwareParameters, TrainingParameters
from train.runs.run_folder import load_tensors, write_model, write_run
from train.weights.initialization import initialize_vision

STATE_NAME = "state.ckpt"


@dataclass(frozen=True)
class FitResult:
    """What ``fit`` did; the same facts are in ``run.json``."""

    run_dir: Path
    selection: str  # val, test or last
    best_epoch: int  # from 0
    best_score: float
    num_epochs: int
    num_train: int
    num_unusable: Mapping[str, int]  # by feature and reason
    history: Sequence[Mapping[str, float]]
    is_first_process: bool = True  # of several that train together: only this one has written


def fit(
    parameters: TrainingParameters,
    *,
    features_dirs: Mapping[str, Path],
    train_ids: Sequence[str],
    val_ids: Sequence[str] = (),
    test_ids: Sequence[str] = (),
    video_of: Mapping[str, str] | None = None,
    is_leakage_allowed: bool = False,
    score_maps: Callable[[Sequence[str], np.ndarray], float] | None = None,
    run_dir: Path,
    log_dir: Path | None = None,
    state_dir: Path | None = None,
    state_key: str = "",
    weights_dir: Path | None = None,
    hardware: HardwareParameters | None = None,
    is_quiet: bool = False,
) -> FitResult:
    """Train the model that ``parameters`` describe; publish its selected weights in ``run_dir``.

    ``features_dirs``: feature name -> folder with its shards. ``video_of``: sample id -> video id, by which the three
    sets must be disjoint (without it, by sample id); ``is_leakage_allowed``: the test set need not be. The weights of
    the epoch with the best selection score are kept: with ``select_on: val`` (or ``test``, what authors did) that is
    ``score_maps(sample_ids, maps)``, larger is better, or, without ``score_maps``, minus the loss on that set;
    ``last`` keeps the last epoch's. ``log_dir``: where DVCLive writes. ``state_dir`` (default ``run_dir``) holds the
    state from which the same call goes on after a crash; it is removed at the end. ``state_key``: a hash of what else
    must be the same for that, such as the cached features. ``weights_dir``: where fetched ImageNet weights are kept.

    Raises ``RunError`` when the loss is not finite or the run collapses; the best weights before that are published
    all the same, and ``run.json`` says so.
    """
    hardware = hardware or HardwareParameters()
    run_dir = Path(run_dir)
    state_path = Path(state_dir or run_dir) / STATE_NAME
    selection_ids = _choose_selection(parameters, val_ids, test_ids)
    sets = {"train": train_ids, "val": val_ids} | ({} if is_leakage_allowed else {"test": test_ids})
    require_disjoint(sets, video_of=video_of, selection=parameters.select_on)
    with quiet_lightning(), torch_settings(hardware.num_threads):
        trainer_options, is_cuda, num_replicas = plan_trainer(parameters, hardware)
        model = make_model(parameters)
        initialize_vision(model, parameters, weights_dir=weights_dir)
        if num_replicas > 1 and parameters.negatives == "gathered":
            model = synchronize_statistics(model, is_cuda=is_cuda)
        is_channels_last = hardware.is_channels_last
        if is_channels_last:
            model = model.to(memory_format=torch.channels_last)
        module = TrainingModule(model, parameters, is_channels_last=is_channels_last)

        readers = open_readers(features_dirs, model.reads)
        train_ids, num_unusable = choose_usable(train_ids, readers)
        selection_ids, num_unusable_for_selection = choose_usable(selection_ids, readers)
        _require_enough(
            parameters,
            train_ids,
            selection_ids,
            num_unusable + num_unusable_for_selection,
            num_replicas=num_replicas,
        )
        train_source = SampleSource(
            train_ids,
            readers,
            input_format=model.input_format,
            crops=RandomCrops(
                seed=parameters.seed,
                has_random_crop=parameters.has_random_crop,
                has_flip=parameters.has_flip,
            ),
        )
        val_source = SampleSource(selection_ids, readers, input_format=model.input_format)
        fingerprint = _fingerprint(parameters, train_source, selection_ids, num_replicas, state_key)
        history = History(None if log_dir is None else Path(log_dir))
        keeper = Keeper(
            parameters,
            name=parameters.method,
            score=_make_score(parameters, val_source, score_maps, weights_dir=weights_dir),
            history=history,
            state_path=state_path,
            fingerprint=fingerprint,
            checkpoint_every_seconds=hardware.checkpoint_every_seconds,
            is_quiet=is_quiet,
        )
        trainer = lightning.Trainer(
            **trainer_options, callbacks=[keeper, StepBar(parameters, is_quiet=is_quiet)]
        )
        device = trainer.strategy.root_device
        _preload(
            [train_source, val_source],
            hardware,
            device=device,
            name=parameters.method,
            is_quiet=is_quiet,
        )
        loader_options = {
            "batch_size": parameters.batch_size,
            "num_workers": count_workers(hardware, is_cuda=is_cuda),
            "device": device,
            "num_replicas": num_replicas,
            "rank": trainer.global_rank,
        }
        train_loader = BatchLoader(
            train_source,
            seed=parameters.seed,
            is_shuffled=parameters.is_shuffled,
            keeps_last=False,
            **loader_options,
        )
        # by itself, a process needs a negative
        smallest_part = 1 if parameters.negatives == "gathered" else 2
        val_loader = (
            BatchLoader(val_source, smallest_part=smallest_part, **loader_options)
            if selection_ids
            else None
        )
        module.num_steps_an_epoch = max(len(train_loader) // parameters.accumulate, 1)
        if hardware.is_compiled:
            module.compile_network()
        if trainer.is_global_zero:
            remove_leftovers(state_path.parent)
        has_state = _has_state(state_path, fingerprint, parameters.method)
        start = time.monotonic()
        failure = None
        try:
            trainer.fit(
                module,
                train_dataloaders=train_loader,
                val_dataloaders=val_loader,
                ckpt_path=state_path if has_state else None,
                weights_only=True if has_state else None,
            )
        except RunError as error:
            failure = error
        except SystemExit:
            # what Lightning makes of Ctrl-C; the state of the last checkpoint stays
            raise KeyboardInterrupt from None
        result = FitResult(
            run_dir=run_dir,
            selection=parameters.select_on,
            best_epoch=keeper.best_epoch,
            best_score=keeper.best_score,
            num_epochs=keeper.num_epochs,
            num_train=len(train_ids),
            num_unusable=dict(num_unusable),
            history=keeper.history.rows,
            is_first_process=trainer.is_global_zero,
        )
        if trainer.is_global_zero:
            _publish(
                result,
                keeper,
                module,
                parameters,
                features=describe_features(readers),
                failure=failure,
                seconds=time.monotonic() - start,
                device=device,
            )
            if failure is None:
                state_path.unlink(missing_ok=True)
        if failure is not None:
            raise failure
        return result


def _choose_selection(parameters: TrainingParameters, val_ids, test_ids) -> list[str]:
    """The ids on which epochs are compared; for ``last`` validation is only looked at."""
    if parameters.select_on == "test":
        if not test_ids:
            raise ParameterError("select_on is test, but the test split has no samples")
        return list(test_ids)
    if parameters.select_on == "val" and not val_ids:
        raise ParameterError(
            "select_on is val, but the val split has no samples; choose last, or another val_split"
        )
    return list(val_ids)


def _require_enough(
    parameters: TrainingParameters, train_ids, selection_ids, reasons, *, num_replicas: int
) -> None:
    """Every process needs two samples of each set: one has no negative."""
    needed = 2 * num_replicas
    lacking = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(3))
    lacking = f" (left out: {lacking})" if lacking else ""
    if len(train_ids) < needed:
        raise DataError(
            f"{len(train_ids)} training samples are cached, expected at least {needed}{lacking}"
        )
    if parameters.select_on != "last" and len(selection_ids) < needed:
        raise DataError(
            f"{len(selection_ids)} samples of the {parameters.select_on} split are cached, expected at least "
            f"{needed}{lacking}"
        )


def _preload(
    sources, hardware: HardwareParameters, *, device: torch.device, name: str, is_quiet: bool
) -> None:
    """Keep in memory what fits in ``memory_limit_mb``, training data first."""
    left = hardware.memory_limit_mb * 2**20
    chosen = []
    for source in sources:
        size = source.estimate_bytes() if len(source) and left else 0
        if 0 < size <= left:
            left -= size
            chosen.append(source)
    if not chosen:
        return
    total = sum(len(source) for source in chosen)
    with Progress(total, f"load data for {name}", unit="sample", is_quiet=is_quiet) as progress:
        for source in chosen:
            source.load_into_memory(device=device, progress=progress)


def _make_score(
    parameters: TrainingParameters, source: SampleSource, score_maps, *, weights_dir: Path | None
):
    """How an epoch is judged (larger is better), or None."""
    if parameters.select_on == "last":
        return None
    if score_maps is None:
        return lambda module: -module.validation_loss()

    @functools.cache  # object guidance reads its classifier once, not every epoch
    def predictor_of(module: TrainingModule) -> Predictor:
        return Predictor(
            module.model, parameters, device=str(module.device), weights_dir=weights_dir
        )

    def score(module: TrainingModule) -> float:
        value = None
        # One process decides for all: rounding differs between GPUs, and who stops early must be of one mind.
        if module.trainer.is_global_zero:
            was_training = module.model.training
            predictor = predictor_of(module)
            module.model.eval()
            maps = []
            for first in range(0, len(source), parameters.batch_size):
                positions = range(first, min(first + parameters.batch_size, len(source)))
                maps.append(predictor.localize(source[(0, positions)]))
            module.model.train(was_training)
            value = float(score_maps(source.sample_ids, np.concatenate(maps)))
        return module.trainer.strategy.broadcast(value)

    return score


def _fingerprint(
    parameters: TrainingParameters,
    train_source: SampleSource,
    selection_ids,
    num_replicas: int,
    key: str,
) -> str:
    """What must be the same for a state to be continued; the order of an epoch follows from where samples lie."""
    shards = train_source.find_shards().tolist() if parameters.is_shuffled else None
    facts = [
        as_mapping(parameters),
        train_source.sample_ids,
        shards,
        list(selection_ids),
        num_replicas,
        key,
    ]
    content = json.dumps(facts, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _has_state(path: Path, fingerprint: str, name: str) -> bool:
    if not path.exists():
        return False
    if read_fingerprint(load_tensors(path)) == fingerprint:
        print(f"{name}: going on from {path}", file=sys.stderr)
        return True
    print(f"{name}: {path} is of other parameters or samples; starting anew", file=sys.stderr)
    return False


def _publish(
    result: FitResult,
    keeper: Keeper,
    module: TrainingModule,
    parameters,
    *,
    features,
    failure,
    seconds,
    device,
) -> None:
    if keeper.best_weights is not None:
        module.model.load_state_dict(keeper.best_weights)
        write_model(result.run_dir, module.model, parameters, features=features)
    write_run(
        result.run_dir,
        {
            "method": parameters.method,
            "parameters": as_mapping(parameters),
            "status": "ok" if failure is None else "stopped",
            "reason": None if failure is None else str(failure),
            "selection": result.selection,
            "best_epoch": result.best_epoch,
            "best_score": result.best_score if np.isfinite(result.best_score) else None,
            "num_epochs": result.num_epochs,
            "is_stopped_early": keeper.is_stopped_early,
            "num_train": result.num_train,
            "num_unusable": result.num_unusable,
            "num_parameters": sum(values.numel() for values in module.model.parameters()),
            "seconds": round(seconds, 1),
            "versions": {"torch": torch.__version__, "lightning": lightning.__version__},
            "device": describe_device(device),  # the module itself is back on the CPU by now
            "history": list(result.history),
        },
    )
