"""Fixtures that several rooms use: foreign data, clips, a server, a report, toy features."""

import os

import pytest

from tests.helpers.paths import shared_path

# Before torch loads: the threads of several test processes wait for each other on few cores, which
# takes three times the CPU.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def shared():
    """Return a function: ``shared("media", "video_90.mov")`` is a path, or skips the test."""
    return shared_path


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """Make a folder of clips: ``clip0.mp4`` to ``clip5.mp4`` (2 s), ``counter.mp4`` (12 s).

    It also holds broken files.
    """
    from tests.helpers.downloads.download_helpers import make_media

    return make_media(tmp_path_factory.mktemp("media"))


@pytest.fixture
def server():
    """Start a server on this machine that answers each path as the test says."""
    from tests.helpers.downloads.misbehaving_server import MisbehavingServer

    with MisbehavingServer() as server:
        yield server


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Make a report of 12 samples; return the project, the report's inputs, and its files."""
    from eval.report.build_report import build_report
    from eval.report.data.inputs import ReportParameters, load_inputs
    from tests.helpers.scoring.report_examples import write_project

    project = write_project(tmp_path_factory.mktemp("report"), num_samples=12)
    inputs = load_inputs(project, datasets=["sample"], models=["htf", "ezvsl"])
    paths = build_report(inputs, ReportParameters(num_gallery_samples=12), project.reports_dir)
    return project, inputs, paths


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """Make features of 48 toy samples.

    Returns their folder, the folder of each feature, the ids, and where each source is.
    """
    from tests.helpers.training.toy_features import write_features

    folder = tmp_path_factory.mktemp("toy")
    dirs, ids, centres = write_features(folder, 48)
    return folder, dirs, ids, centres


@pytest.fixture(scope="session")
def varied_toy(tmp_path_factory):
    """Make features of 22 toy samples in three picture shapes.

    Returns the folder of each feature, the ids, and where each source is.
    """
    from tests.helpers.training.toy_features import write_features

    sizes = ((48, 64), (48, 48), (64, 48))
    return write_features(tmp_path_factory.mktemp("varied_toy"), 22, sizes=sizes, shard_rows=5)
