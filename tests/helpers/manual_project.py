"""A small project in which the Python of the manual and the notebook run."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa

from earshot import tables
from pipeline.base.project import Project
from pipeline.exports.export import export_dataset
from pipeline.exports.parameters import ExportParameters
from tests.helpers.media.clip_factory import make_clip
from tests.helpers.scoring.report_examples import write_project

_COPY, _COPY_SPLIT = "vggsound", "vggss_test"


def write_manual_project(root: Path) -> Project:
    """Write the project that pages speak of: `sample` and `vggsound`, maps, results, a clip."""
    project = write_project(root, num_samples=12)
    make_clip(root / "clip.mp4", size="640x360", fps="8", seconds=10)

    # The other dataset has the same samples, in a published split.
    shutil.copytree(root / "cache" / "sample", root / "cache" / _COPY)
    samples = tables.read_table(project.samples_table_path("sample"), tables.SAMPLES)
    splits = pa.array([[_COPY_SPLIT]] * len(samples), samples.schema.field("splits").type)
    column = samples.schema.get_field_index("splits")
    copied = samples.set_column(column, samples.schema.field("splits"), splits)
    tables.write_table(project.samples_table_path(_COPY), copied, tables.SAMPLES)
    return project


def write_exports(project: Project) -> None:
    """Export a dataset to the folders beside the checkout that the manual speaks of."""
    shutil.copy(project.clips_table_path("sample"), project.clips_table_path(_COPY))
    for name, format_name in (("wds", "webdataset"), ("hf", "huggingface")):
        parameters = ExportParameters(format=format_name, features=("frames", "flow"))
        folder = project.root.parent / f"{_COPY}_{name}"
        export_dataset(project, _COPY, parameters, folder, is_quiet=True)


def read_maps(project: Project, model: str = "htf") -> dict[str, np.ndarray]:
    """Return the maps of a model by sample id."""
    with np.load(project.maps_path("sample", model)) as data:
        return dict(zip(data["sample_ids"].tolist(), data["maps"], strict=True))
