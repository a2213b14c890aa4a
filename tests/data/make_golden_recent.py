"""Make ``golden_recent.npz``: what the code of recent methods computes, and formulas.

``recent_state_dict_keys.json`` has the names and shapes of their tensors.

    python -m tests.data.make_golden_recent

The numbers were made by running the authors' code on the weights and inputs of
``tests/helpers/training/golden_formula.py``. They lie in the shared folder; this script takes what
tests read.
"""

import json

import numpy as np

from tests.helpers.paths import DATA, GOLDEN_DIR, SHARED

_METHODS = ("fnac", "slavc", "ssltie", "sslalign", "sspl")
_PARTS = (
    "fnac_",
    "slavc_",
    "ssltie_",
    "tie_",
    "sslalign_",
    "formula_margin_",
    "formula_hardpos_",
    "sspl_",
    "vggish_",
)


def main() -> None:
    """Write the file."""
    golden = np.load(SHARED / "golden" / "recent_models.npz")
    kept = {name: values for name, values in golden.items() if name.startswith(_PARTS)}
    kept["fnac_losses_0"] = kept["fnac_losses"][0]  # EZ-VSL's term alone
    np.savez_compressed(GOLDEN_DIR / "golden_recent.npz", **kept)

    keys = json.loads((SHARED / "golden" / "recent_state_dict_keys.json").read_text())
    text = json.dumps({name: keys[name] for name in _METHODS}, separators=(",", ":"))
    (DATA / "recent_state_dict_keys.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
