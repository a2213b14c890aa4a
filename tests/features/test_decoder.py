"""Features whose frames a GPU decodes: own keys, the same arrays and reasons, a refusal without."""

import subprocess
import sys

import numpy as np
import pytest
import yaml

import stages.feature
from earshot.errors import ParameterError
from earshot.files import sha256_of
from earshot.reader import FeatureReader
from earshot.tables import DOWNLOADS, INDEX, SAMPLES, read_table, write_table
from pipeline.base.parameters import as_mapping
from pipeline.base.project import Project
from pipeline.features import extract, flow, frames
from pipeline.features.extract import extract_features
from pipeline.features.feature import Moment
from pipeline.media.pictures import gpu
from pipeline.shards.keys import KeyMaker
from tests.helpers.media.clip_factory import H264, make_clip
from tests.helpers.media.fake_gpu import install_fake_gpu
from tests.helpers.media.hidden_damage import make_damaged_clip
from tests.helpers.paths import ROOT

MODULES = {"frames": frames, "flow": flow}


@pytest.fixture
def fake_gpu(monkeypatch):
    monkeypatch.setattr(extract, "require_gpu", lambda: None)
    return install_fake_gpu(monkeypatch)


@pytest.fixture
def project(tmp_path):
    """A project with a whole and a damaged clip, and variants that a GPU decodes."""
    names = ("frames-gpu", "flow-gpu")
    params = {
        "datasets": ["tiny"],
        "frames": {"short_side": 64},
        "flow": {"short_side": 64},
        "variants": list(names),
        "feature_variants": {name: {"short_side": 64, "decoder": "cuda"} for name in names},
        "cluster": {"workers": 0},
        "cache": {"max_failed_fraction": 1.0},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    project = Project.load(tmp_path)
    folder = project.clips_dir("tiny")
    folder.mkdir(parents=True)
    paths = [
        make_clip(folder / "whole.mp4", *H264, "-g", "12", size="160x96", seconds=2),
        make_damaged_clip(folder / "damaged.flv", spared_seconds=[2.0]),
    ]
    clips = [
        {"clip_id": path.stem, "status": "ok", "path": path.name, "sha256": sha256_of(path)}
        for path in paths
    ]
    samples = [
        {"sample_id": f"{path.stem} {time}", "clip_id": path.stem, "time_seconds": time}
        for path in paths
        for time in (0.25, 1.5)
    ]
    samples = [{**sample, "splits": ["all"]} for sample in samples]
    write_table(project.samples_table_path("tiny"), samples, SAMPLES)
    write_table(project.downloads_table_path("tiny"), clips, DOWNLOADS)
    return project


@pytest.mark.parametrize("name", MODULES)
def test_the_default_leaves_keys_as_they_were_and_a_gpu_has_its_own(name):
    module = MODULES[name]
    default = module.make_feature(module.Parameters())
    on_gpu = module.make_feature(module.Parameters(decoder="cuda"))
    assert "decoder" not in as_mapping(default.parameters)
    assert as_mapping(on_gpu.parameters)["decoder"] == "cuda"
    assert KeyMaker(default)("clip", 1.0) != KeyMaker(on_gpu)("clip", 1.0)
    assert "attribute_num_gpu_frames" not in default.attributes


def test_keys_are_those_of_caches_that_exist():
    # Computed with the code from before the parameter `decoder`, and the version of today.
    keys = {name: KeyMaker(one.make_feature(one.Parameters())) for name, one in MODULES.items()}
    assert {name: key("0" * 64, 1.0) for name, key in keys.items()} == {
        "frames": "950bae1df932a442fdd2668f0592539c",
        "flow": "d1753b6f357331dbc82fe114736c4e5c",
    }


@pytest.mark.parametrize("base", MODULES)
def test_arrays_and_reasons_are_those_of_the_cpu(base, project, fake_gpu, monkeypatch, capsys):
    monkeypatch.chdir(project.root)
    stages.feature.main(project, base, "tiny")
    stages.feature.main(project, f"{base}-gpu", "tiny")
    assert capsys.readouterr().out.count("4 samples, 3 ok") == 2

    folders = [project.feature_dir("tiny", name) for name in (base, f"{base}-gpu")]
    cpu, on_gpu = (read_table(folder / "index.parquet", INDEX).to_pylist() for folder in folders)
    for expected, found in zip(cpu, on_gpu, strict=True):
        assert found["key"] != expected["key"]
        for name in ("sample_id", "status", "reason", "detail"):
            assert found[name] == expected[name]
    assert [row["reason"] for row in on_gpu][2:] == [None, "corrupt"]

    readers = [FeatureReader(folder) for folder in folders]
    for row in on_gpu[:3]:
        expected, found = (reader.read(row["sample_id"]) for reader in readers)
        assert np.array_equal(found, expected)
    attributes = readers[1].read_attributes("whole 1.5")
    assert attributes["num_gpu_frames"] == {"frames": 1, "flow": 2}[base]


def test_one_pass_serves_features_with_different_decoders(project, fake_gpu):
    path = project.clips_dir("tiny") / "whole.mp4"
    features = [
        frames.make_feature(frames.Parameters(decoder="cuda")),
        flow.make_feature(flow.Parameters()),
    ]
    moments = [Moment("a", 1.0), Moment("b", 0.5)]
    found = list(extract_features(path, moments, features))
    assert [set(one) for one in found] == [{"frames", "flow"}] * 2
    assert [one["frames"].attributes["num_gpu_frames"] for one in found] == [1, 1]
    assert "num_gpu_frames" not in found[0]["flow"].attributes


def test_without_a_gpu_a_stage_is_refused_before_any_clip_is_read(project):
    try:
        gpu.require_gpu()
    except ParameterError:
        pass
    else:
        pytest.skip("has a GPU")

    command = [sys.executable, "-m", "stages.feature", "frames-gpu", "tiny"]
    checked = project.root / "cache" / ".checked-params"
    checked.write_text(sha256_of(project.root / "params.yaml"))
    done = subprocess.run(
        command,
        cwd=project.root,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "error:" not in done.stdout
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: decoder is cuda, but ")
    assert line.endswith("expected one, or decoder: cpu")
    assert not list(project.store_dir("tiny", "frames").glob("*.h5"))


def test_workers_are_started_anew_and_not_forked():
    import dask

    from pipeline.shards.workers import cluster

    with dask.config.set({"distributed.worker.multiprocessing-method": "fork"}):
        with dask.config.set(cluster._LOCAL_CONFIG):
            assert dask.config.get("distributed.worker.multiprocessing-method") == "spawn"
