"""Localization maps of trained, untrained and published models for cached samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from earshot.reader import FeatureReader
from train.data.augmentation import prepare_inputs
from train.data.device_copies import move_to
from train.data.sample_source import SampleSource
from train.models.localizer import Localizer
from train.models.registry import make_model
from train.models.training_parameters import TrainingParameters
from train.runs.run_folder import read_model
from train.weights.initialization import attach_object_guidance

_BATCH_SIZE = 32


class Predictor:
    """A model in evaluation mode on a device. ``weights_dir``: where EZ-VSL's object guidance keeps its classifier."""

    def __init__(
        self,
        model: Localizer,
        parameters: TrainingParameters,
        *,
        device: str = "auto",
        weights_dir: Path | None = None,
    ):
        self.parameters = parameters
        self.device = torch.device(choose_device(device))
        attach_object_guidance(model, parameters, weights_dir=weights_dir)
        self.model = model.eval().to(self.device)

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the features that ``readers`` must have."""
        return self.model.reads

    @torch.inference_mode()
    def predict(
        self,
        sample_ids: Sequence[str],
        readers: Mapping[str, FeatureReader],
        *,
        progress=None,
        batch_size: int = _BATCH_SIZE,
    ) -> np.ndarray:
        """Maps ``(n, h, w)`` float32 in the order of ``sample_ids``, at the model's resolution; larger: more likely.

        Frames are squashed to the network's square. ``progress``: ``pipeline.base.progress.Progress`` or None.
        """
        readers = {name: readers[name] for name in self.reads}
        source = SampleSource(sample_ids, readers, input_format=self.model.input_format)
        maps = []
        for first in range(0, len(source), batch_size):
            positions = range(first, min(first + batch_size, len(source)))
            maps.append(self.localize(source[(0, positions)]))
            if progress is not None:
                progress.update(len(positions))
        return np.concatenate(maps) if maps else np.zeros((0, 1, 1), np.float32)

    @torch.inference_mode()
    def localize(self, batch: dict) -> np.ndarray:
        """Maps of one batch of ``train.data.collate``, float32 (n, h, w)."""
        weights = next(
            self.model.parameters(), None
        )  # a model that is being trained may be in double precision
        dtype = None if weights is None else weights.dtype
        inputs = prepare_inputs(move_to(batch, self.device), self.model.input_format, dtype=dtype)
        return self.model.localize(inputs).float().cpu().numpy()


def load_predictor(
    run_dir: Path | str, *, device: str = "auto", weights_dir: Path | None = None
) -> Predictor:
    """The trained model of a run folder."""
    model, parameters = read_model(Path(run_dir))
    return Predictor(model, parameters, device=device, weights_dir=weights_dir)


def untrained_predictor(
    parameters: TrainingParameters,
    seed: int | None = None,
    *,
    device: str = "auto",
    weights_dir: Path | None = None,
) -> Predictor:
    """The same network before any training, randomly initialized: the baseline that training has to beat."""
    return Predictor(
        make_model(parameters, seed=seed), parameters, device=device, weights_dir=weights_dir
    )


def choose_device(device: str) -> str:
    """``auto`` is the GPU where there is one."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
