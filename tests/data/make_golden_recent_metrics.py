"""Make ``golden_recent_metrics.npz``: what the authors' code says since 2023.

    python -m tests.data.make_golden_recent_metrics

The numbers were made by running the authors' evaluation code on generated maps. They lie in the
shared folder, with a description of each array (``golden/RECENT.md``).
"""

import numpy as np

from tests.helpers.paths import DATA, SHARED


def main() -> None:
    """Write the file."""
    golden = np.load(SHARED / "golden" / "recent_metrics.npz")
    np.savez_compressed(DATA / "golden_recent_metrics.npz", **golden)


if __name__ == "__main__":
    main()
