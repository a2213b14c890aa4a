"""Make ``golden_models.npz`` and ``state_dict_keys.json``: what the authors' networks compute.

    python -m tests.data.make_golden_models

The numbers were made by running the authors' code on the weights and inputs of
``tests/helpers/training/golden_formula.py``. They lie in the shared folder; this script thins them.

- ``golden_models.npz``: maps, losses and embeddings by name. Maps of 224x224 keep every seventh
  row and column, starting at the fourth.
- ``state_dict_keys.json``: method -> name of each tensor -> its shape
"""

import json

import numpy as np

from tests.helpers.paths import DATA, GOLDEN_DIR, SHARED

MAP_SIZE = 224
MAP_STEP = slice(3, None, 7)


def main() -> None:
    """Write both files."""
    golden = np.load(SHARED / "golden" / "models.npz")
    thinned = {name: thin_array(values) for name, values in golden.items()}
    np.savez_compressed(GOLDEN_DIR / "golden_models.npz", **thinned)

    keys = json.loads((SHARED / "golden" / "state_dict_keys.json").read_text())
    text = json.dumps(keys, separators=(",", ":"))
    (DATA / "state_dict_keys.json").write_text(text + "\n")


def thin_array(values: np.ndarray) -> np.ndarray:
    """Keep some rows and columns of large maps; leave other arrays as they are."""
    is_large_map = values.ndim == 3 and values.shape[1:] == (MAP_SIZE, MAP_SIZE)
    return values[:, MAP_STEP, MAP_STEP] if is_large_map else values


if __name__ == "__main__":
    main()
