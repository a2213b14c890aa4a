"""Compute localization maps of trained, untrained and published models for cached samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from earshot.reader import FeatureReader
from pipeline.base.progress import Progress
from train.data.augmentation import prepare_inputs
from train.data.device_copies import move_to
from train.data.sample_source import SampleSource
from train.models.localizer import Localizer
from train.models.registry import make_model, parameters_of_training
from train.models.training_parameters import TrainingParameters
from train.runs.run_folder import read_model
from train.weights.frozen_networks import attach_classifier
from train.weights.initialization import initialize

_BATCH_SIZE = 32


class Predictor:
    """A network in evaluation mode on a device.

    Args:
        model: The network, with its weights.
        parameters: Of the network; None for a baseline that was never trained.
        device: A name of torch's; ``auto`` is the GPU where there is one.
        weights_dir: Folder for the fetched classifier of EZ-VSL's object guidance; None: torch's.
        is_guided: Whether EZ-VSL mixes in its map of objects. Its authors do so at test, and choose
            the epoch by the audio-visual map alone.
    """

    def __init__(
        self,
        model: Localizer,
        parameters: TrainingParameters | None,
        *,
        device: str = "auto",
        weights_dir: Path | None = None,
        is_guided: bool = True,
    ):
        self.parameters = parameters
        self.device = torch.device(choose_device(device))
        self._is_guided = is_guided
        # Without guidance, as when epochs are compared, no classifier is fetched.
        if is_guided:
            attach_classifier(model, weights_dir=weights_dir)
        self.model = model.eval().to(self.device)

    @property
    def method(self) -> str:
        """Name of the network's method. A baseline that was never trained has none."""
        assert self.parameters is not None, "a baseline has no method"
        return self.parameters.method

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the features that the network reads."""
        return self.model.reads

    @torch.inference_mode()
    def predict(
        self,
        sample_ids: Sequence[str],
        readers: Mapping[str, FeatureReader],
        *,
        progress: Progress | None = None,
        batch_size: int = _BATCH_SIZE,
    ) -> np.ndarray:
        """Compute the maps of cached samples. Whole frames are resized to the network's square.

        Args:
            sample_ids: Which samples.
            readers: Of the features in ``reads``.
            progress: Counts the samples.
            batch_size: Samples that the network sees at once.

        Returns:
            float32 (n, h, w) in the order of ``sample_ids``, at the network's own resolution. A
            larger value is more likely.
        """
        # A source reads every feature that it is given, so leave out those of other models.
        readers = {name: readers[name] for name in self.reads}
        source = SampleSource(sample_ids, readers, input_format=self.model.input_format)

        maps = []
        for first in range(0, len(source), batch_size):
            positions = range(first, min(first + batch_size, len(source)))
            maps.append(self.localize(source[(0, positions)]))
            if progress is not None:
                progress.update(len(positions))

        # Without samples nobody knows the size of a map.
        return np.concatenate(maps) if maps else np.zeros((0, 1, 1), np.float32)

    @torch.inference_mode()
    def localize(self, batch: dict[str, Any]) -> np.ndarray:
        """Compute the maps, float32 (n, h, w), of a batch of ``train.data.collate``."""
        inputs = self.prepare(batch)
        localize = self.model.localize if self._is_guided else self.model.localize_unguided
        return localize(inputs).float().cpu().numpy()

    def prepare(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Turn a batch of ``train.data.collate`` into the network's inputs, on its device."""
        # During training a model may be in double precision, and its inputs then must be, too.
        weights = next(self.model.parameters(), None)
        dtype = None if weights is None else weights.dtype
        return prepare_inputs(move_to(batch, self.device), self.model.input_format, dtype=dtype)


def load_predictor(
    run_dir: Path | str, *, device: str = "auto", weights_dir: Path | None = None
) -> Predictor:
    """Load the trained model of a run folder.

    Args:
        run_dir: Folder of the run.
        device: As for ``Predictor``.
        weights_dir: As for ``Predictor``.

    Returns:
        A predictor whose network is in evaluation mode.

    Raises:
        DataError: The folder holds no model.
    """
    model, parameters = read_model(Path(run_dir))
    return Predictor(model, parameters, device=device, weights_dir=weights_dir)


def make_untrained_predictor(
    parameters: TrainingParameters,
    seed: int | None = None,
    *,
    device: str = "auto",
    weights_dir: Path | None = None,
) -> Predictor:
    """Make the network with which a training begins, the baseline that it has to beat.

    It has the weights that ``parameters.init`` names; else frozen features of ImageNet would be
    credited to the training.

    Args:
        parameters: Of the network.
        seed: Of its random weights; None: ``parameters.seed``.
        device: As for ``Predictor``.
        weights_dir: As for ``Predictor``; also for ImageNet's weights.

    Raises:
        DataError: The first weights cannot be fetched or read.
    """
    model = make_model(parameters, seed=seed)
    initialize(model, parameters, weights_dir=weights_dir)
    return Predictor(model, parameters, device=device, weights_dir=weights_dir)


def make_part_predictor(predictor: Predictor) -> Predictor:
    """Return the network of the method that trains the weights of this one.

    Args:
        predictor: Of a method with ``trained_as``: FlowGrad-H has the weights of RCGrad.
    """
    assert predictor.parameters is not None, "a baseline has no method"
    parameters = parameters_of_training(predictor.parameters)
    model = make_model(parameters)
    model.load_state_dict(predictor.model.state_dict())
    return Predictor(model, parameters, device=str(predictor.device))


def choose_device(device: str) -> str:
    """Return the device that ``auto`` means: the GPU where there is one."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
