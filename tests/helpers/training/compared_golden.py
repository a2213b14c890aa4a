"""Golden numbers of the older methods that later papers compare with."""

import json
from collections.abc import Callable

import numpy as np
import torch

from tests.helpers.paths import DATA, GOLDEN_DIR
from tests.helpers.training.golden_formula import fill_state_dict, generator, tensor
from train.models.localizer import Localizer
from train.models.registry import build_parameters, make_model

GOLDEN = np.load(GOLDEN_DIR / "golden_compared.npz")
KEYS = json.loads((DATA / "compared_state_dict_keys.json").read_text())


def assert_close(values: torch.Tensor, name: str) -> None:
    """Within 1e-3 of the golden array's range, or of a scalar: many maps vary little."""
    golden, found = GOLDEN[name], values.detach().numpy()
    assert found.size == golden.size
    scale = np.ptp(golden) if golden.size > 1 else np.abs(golden).item()
    assert np.abs(found.reshape(golden.shape) - golden).max() <= 1e-3 * scale


def normal(name: str, *shape: int) -> torch.Tensor:
    """Return standard normal inputs by formula."""
    return tensor(generator(name).standard_normal(shape))


def uniform(name: str, *shape: int) -> torch.Tensor:
    """Return inputs by formula that are uniform in 0..1."""
    return tensor(generator(name).uniform(0, 1, shape))


def make_formula_model(
    method: str, *, change: Callable[[dict[str, torch.Tensor]], None] | None = None, **settings
) -> Localizer:
    """Make the published network with formula weights, in evaluation mode.

    ``change`` may scale some weights.
    """
    model = make_model(build_parameters({"method": method, **settings}, "test"))
    state = fill_state_dict(model.state_dict())
    if change is not None:
        change(state)
    model.load_state_dict(state)
    return model.eval()


def shapes_of(model: torch.nn.Module) -> dict[str, list[int]]:
    """Return the names and shapes of a state dict, as in ``KEYS``."""
    return {key: list(value.shape) for key, value in model.state_dict().items()}
