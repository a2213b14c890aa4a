"""Make ``golden_recent_metrics.npz``: what the authors' code says since 2023.

    python -m tests.data.make_golden_recent_metrics

The numbers were made by running the authors' evaluation code on generated maps. They lie in the
shared folder, with a description of each array (``golden/RECENT.md``). All arrays are copied but
those of object-guided maps, which no function here needs.
"""

import numpy as np

from tests.helpers.paths import DATA, SHARED

_LEFT_OUT = ("avobj4", "avobj9", "_obj_", "ogl_summary", "is3_obj", "ext_obj")


def main() -> None:
    """Write the file."""
    golden = np.load(SHARED / "golden" / "recent_metrics.npz")
    arrays = {name: golden[name] for name in golden if not any(part in name for part in _LEFT_OUT)}
    np.savez_compressed(DATA / "golden_recent_metrics.npz", **arrays)


if __name__ == "__main__":
    main()
