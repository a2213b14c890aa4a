"""A variant of a feature whose code is the user's, by dotted name: the example with RAFT."""

import json

import numpy as np
import pytest
import torch
import yaml
from torchvision.models.optical_flow import raft_small

import stages.feature
from earshot.errors import ParameterError
from earshot.files import sha256_of
from earshot.reader import FeatureReader
from earshot.tables import DOWNLOADS, SAMPLES, write_table
from examples import raft_flow
from pipeline.__main__ import main as pipeline_main
from pipeline.base.project import Project
from pipeline.features.configure import check_variants, configure_feature, restore_feature
from tests.helpers.media.clip_factory import make_clip


@pytest.fixture
def project(tmp_path):
    """A project with one clip, and a variant of flow that RAFT computes."""
    torch.manual_seed(0)
    weights_path = tmp_path / "raft.pth"
    torch.save(raft_small(weights=None).state_dict(), weights_path)
    settings = {
        "code": "examples.raft_flow",
        "weights": str(weights_path),
        "sha256": sha256_of(weights_path),
        "num_updates": 2,
        "flow": {"short_side": 64},
    }
    params = {
        "datasets": ["tiny"],
        "flow": {"short_side": 64},
        "variants": ["flow-raft"],
        "feature_variants": {"flow-raft": settings},
        "cluster": {"workers": 0},
        "cache": {},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    project = Project.load(tmp_path)
    clips_dir = project.clips_dir("tiny")
    clips_dir.mkdir(parents=True)
    path = make_clip(clips_dir / "clip.mp4", size="160x136", seconds=1, fps="8")
    clip = {"clip_id": "clip", "status": "ok", "path": path.name, "sha256": sha256_of(path)}
    sample = {"sample_id": "a", "clip_id": "clip", "time_seconds": 0.5}
    write_table(project.samples_table_path("tiny"), [sample], SAMPLES)
    write_table(project.downloads_table_path("tiny"), [clip], DOWNLOADS)
    return project


def test_the_example_computes_flow_that_every_command_knows(project, capsys, monkeypatch):
    monkeypatch.chdir(project.root)
    stages.feature.main(project, "flow-raft", "tiny")
    assert "tiny: flow-raft: 1 samples, 1 ok" in capsys.readouterr().out
    reader = FeatureReader(project.feature_dir("tiny", "flow-raft"))
    array = reader.read("a")
    assert array.shape == (2, 64, 75) and np.isfinite(array).all() and array.any()

    # Whoever has the shards alone makes the feature again, with the same code.
    feature = configure_feature(project, "flow-raft")
    assert (feature.name, feature.version) == ("flow", raft_flow.VERSION)
    recorded = json.loads(reader.attributes["parameters"])
    assert restore_feature("flow-raft", recorded).parameters == feature.parameters

    # Nothing is computed again, and it is verified by its own code.
    stages.feature.main(project, "flow-raft", "tiny")
    assert "0 computed" in capsys.readouterr().out
    assert pipeline_main(["--root", str(project.root), "verify", "--feature", "flow-raft"]) == 0


def test_the_frames_reach_raft_as_they_are(project):
    parameters = configure_feature(project, "flow-raft").parameters
    frames = np.random.default_rng(0).integers(0, 256, (2, 128, 136, 3), np.uint8)
    found = raft_flow.compute_raft(parameters, *frames)

    network = raft_flow.load_network(parameters.weights, parameters.sha256)
    inputs = torch.from_numpy(frames).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        expected = network(inputs[:1], inputs[1:], num_flow_updates=2)[-1][0]
    np.testing.assert_allclose(found, expected.permute(1, 2, 0).numpy(), atol=1e-5)

    # Other sides are padded; the flow has the frame's own.
    assert raft_flow.compute_raft(parameters, *frames[:, :99, :131]).shape == (99, 131, 2)


_OTHER_KIND = """
from dataclasses import dataclass
from pipeline.features.feature import CodeParameters
from pipeline.features import frames

@dataclass(frozen=True, kw_only=True)
class Parameters(CodeParameters):
    pass

def make_feature(parameters):
    return frames.make_feature(frames.Parameters())
"""


def check_and_configure(project: Project) -> None:
    check_variants(project)
    configure_feature(project, "flow-raft")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("examples.raft_flwo", "flow-raft: code is 'examples.raft_flwo', expected the dotted name"),
        (3, "flow-raft: code is 3, expected the dotted name"),
        ("json", "expected a module with make_feature and Parameters"),
        ("of_another_kind", "makes the feature 'frames' of kind 'picture', expected 'flow'"),
    ],
)
def test_wrong_code_is_named(project, tmp_path, monkeypatch, code, words):
    (tmp_path / "of_another_kind.py").write_text(_OTHER_KIND)
    monkeypatch.syspath_prepend(tmp_path)
    project.params["feature_variants"]["flow-raft"] = {"code": code}
    with pytest.raises(ParameterError, match=words):
        check_and_configure(project)


def test_a_key_that_the_code_does_not_know_is_named(project):
    project.params["feature_variants"]["flow-raft"]["wieghts"] = "x"
    with pytest.raises(ParameterError, match=r"flow-raft.wieghts.*did you mean weights"):
        check_variants(project)
