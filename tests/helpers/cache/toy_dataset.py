"""A small dataset of the cache, with its table of samples: what ``earshot.open`` opens."""

from pathlib import Path

from earshot.tables import SAMPLES, write_table
from tests.helpers.training.toy_features import write_features


def write_toy_dataset(root: Path, *, num_samples: int = 24) -> Path:
    """Write ``cache/toy`` and ``manifests/toy`` below ``root``; return the folder of features.

    Every third sample is in the split ``test``, the others are in ``train``. One further sample of
    ``train`` has no feature.
    """
    features_dir = root / "cache" / "toy"
    _, ids, centres = write_features(features_dir, num_samples)

    rows = []
    for number, (sample_id, (y, x)) in enumerate(zip(ids, centres, strict=True)):
        rows.append(
            {
                "sample_id": sample_id,
                "clip_id": f"clip_{number}",
                "time_seconds": 1.5,
                "splits": ["test"] if number % 3 == 0 else ["train"],
                "label": f"class {number % 2}",
                "boxes": [[x - 0.1, y - 0.1, x + 0.1, y + 0.1]],
                "attributes": [("place", "studio")],
            }
        )
    rows.append({"sample_id": "absent", "clip_id": "absent", "splits": ["train"]})
    write_table(root / "manifests" / "toy" / "samples.parquet", rows, SAMPLES)
    return features_dir
