"""A project with five tiny clips and one cached feature, for the commands over the cache."""

import hashlib

import av
import numpy as np
import yaml

from earshot.tables import DOWNLOADS, SAMPLES, read_table, write_table
from pipeline.base.project import Project
from pipeline.features import frames
from pipeline.shards.build import BuildOptions, FeatureFolders, build_feature
from pipeline.shards.workers.cluster import ClusterParameters

PARAMS = {
    "datasets": ["tiny"],
    "frames": {"short_side": 32},
    "cluster": {"workers": 0},
    "detections": {"datasets": ["tiny"], "detector": {"weights": "none.pth", "max_boxes": 7}},
}


def write_video(path, *, shade):
    """Twelve grey frames with a bright square that moves."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(12):
            picture = np.full((48, 64, 3), shade, np.uint8)
            picture[10:20, 2 * i : 2 * i + 10] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def make_tiny_project(tmp_path):
    """Make a project with five clips and their frames, as the stages make them."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    project = Project.load(tmp_path)
    project.clips_dir("tiny").mkdir(parents=True)
    samples, downloads = [], []
    for i in range(5):
        path = project.clips_dir("tiny") / f"clip{i}.mp4"
        write_video(path, shade=20 * i)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        downloads.append(
            {"clip_id": f"clip{i}", "status": "ok", "path": path.name, "sha256": sha256}
        )
        samples.append({"sample_id": f"sample{i}", "clip_id": f"clip{i}"})
    build(project, samples, downloads, short_side=32)
    return project


def build(project, samples, downloads, *, short_side):
    write_table(project.samples_table_path("tiny"), samples, SAMPLES)
    write_table(project.downloads_table_path("tiny"), downloads, DOWNLOADS)
    build_as_stages_do(project, frames.make_feature(frames.Parameters(short_side=short_side)))


def build_as_stages_do(project, feature):
    build_feature(
        feature,
        samples=read_table(project.samples_table_path("tiny"), SAMPLES),
        downloads=read_table(project.downloads_table_path("tiny"), DOWNLOADS),
        folders=FeatureFolders(
            project.clips_dir("tiny"),
            project.store_dir("tiny", feature.name),
            project.feature_dir("tiny", feature.name),
        ),
        options=BuildOptions(ClusterParameters(workers=0), is_quiet=True),
    )
