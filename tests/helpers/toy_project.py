"""Make a project folder for tests of stages.

Its first dataset is the toy world of ``tests/helpers/training/toy_features.py``.
"""

from pathlib import Path

import yaml

from earshot.tables import CLIPS, SAMPLES, write_table
from pipeline.base.project import Project
from tests.helpers.training.toy_features import write_features

NUM_TRAIN, NUM_VAL, NUM_TEST = 16, 4, 4
TINY_RUN = {
    "init": "random",
    "width": 8,
    "image_size": 32,
    "map_stride": 16,
    "batch_size": 8,
    "epochs": 1,
    "learning_rate": 1e-3,
    "spectrogram_pooling": 8,
}


def make_toy_project(folder: Path, runs: dict[str, dict], **params) -> Project:
    """Write tables, features and params.yaml.

    params.yaml has ``runs`` over ``TINY_RUN`` as section ``train``, and ``params``.
    """
    num_samples = NUM_TRAIN + NUM_VAL + NUM_TEST
    _, ids, centres = write_features(folder / "cache" / "sample", num_samples, shard_rows=8)
    splits = ["train"] * NUM_TRAIN + ["val"] * NUM_VAL + ["test"] * NUM_TEST
    content = {
        "datasets": ["sample"],
        "models": list(runs),
        "released": [],
        "waveform_datasets": ["sample"],
        "train": {name: {**TINY_RUN, **values} for name, values in runs.items()},
        "hardware": {"accelerator": "cpu", "num_threads": 1},
        "audit": {"allow_leakage": False},
        **params,
    }
    content.setdefault("evaluate", {"subsets": {"sample": ["test"]}})
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    project = Project.load(folder)
    clips = [
        {"clip_id": name, "video_id": name, "url": "", "splits": [split]}
        for name, split in zip(ids, splits, strict=True)
    ]
    samples = [
        {
            "sample_id": name,
            "clip_id": name,
            "time_seconds": 0.0,
            "splits": [split],
            "boxes": [
                [max(0.0, x - 0.16), max(0.0, y - 0.16), min(1.0, x + 0.16), min(1.0, y + 0.16)]
            ],
            "box_annotators": [0],
            "attributes": {},
        }
        for name, split, (y, x) in zip(ids, splits, centres, strict=True)
    ]
    write_table(project.clips_table_path("sample"), clips, CLIPS)
    write_table(project.samples_table_path("sample"), samples, SAMPLES)
    return project
