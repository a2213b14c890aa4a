"""Make ``golden_compared.npz``: what the code of the older methods computes.

DMC, Attention10k in two forms, CoarseToFine and AVObject.
``compared_state_dict_keys.json`` has the names and shapes of their tensors.

    python -m tests.data.make_golden_compared

The numbers were made by running the authors' code on weights and inputs by formula. They lie in the
shared folder; this script takes what the tests read.
"""

import json

import numpy as np

from tests.helpers.paths import DATA, GOLDEN_DIR, SHARED

_METHODS = ("dmc", "attention10k", "attention_resnet", "soundnet8", "coarsetofine", "avobject")
_PARTS = (
    "dmc",
    "contrastive",
    "attention10k_",
    "attention_resnet_",
    "soundnet8_",
    "c2f_",
    "avobject_",
)
_LEFT_OUT = "c2f_tagger"  # the network that names sounds, which is not here


def main() -> None:
    """Write both files."""
    golden = np.load(SHARED / "golden" / "compared_models.npz")
    kept = {name: values for name, values in golden.items() if name.startswith(_PARTS)}
    kept = {name: values for name, values in kept.items() if not name.startswith(_LEFT_OUT)}
    np.savez_compressed(GOLDEN_DIR / "golden_compared.npz", **kept)

    keys = json.loads((SHARED / "golden" / "compared_state_dict_keys.json").read_text())
    text = json.dumps({name: keys[name] for name in _METHODS}, separators=(",", ":"))
    (DATA / "compared_state_dict_keys.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
