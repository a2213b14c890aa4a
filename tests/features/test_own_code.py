"""Features whose code is another module, by dotted name: flow of RAFT, and CLIP as an example."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import yaml
from PIL import Image
from torchvision.models.optical_flow import raft_small

import stages.feature
from earshot.errors import DataError, ParameterError
from earshot.files import sha256_of
from earshot.reader import FeatureReader
from earshot.tables import DOWNLOADS, SAMPLES, write_table
from earshot.torch import Samples
from examples import clip_embeddings
from pipeline.__main__ import main as pipeline_main
from pipeline.base.project import Project
from pipeline.features.configure import check_variants, configure_feature, restore_feature
from pipeline.media.reader import ClipReader
from tests.helpers.media.clip_factory import make_clip, read_frames
from tests.helpers.paths import ROOT
from train.inference import raft_flow

CODE = "train.inference.raft_flow"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one clip, and a variant of flow that RAFT computes, with random weights."""
    settings = {"code": CODE, "num_updates": 2, "flow": {"short_side": 64}}
    project = make_project(tmp_path, "flow-raft", settings)

    torch.manual_seed(0)
    project.weights_dir.mkdir(parents=True)
    new_path = project.weights_dir / "new.pth"
    torch.save(raft_small(weights=None).state_dict(), new_path)
    path = new_path.rename(project.weights_dir / f"raft_small-{sha256_of(new_path)[:8]}.pth")
    monkeypatch.setitem(
        raft_flow.WEIGHTS_URLS, "raft_small_C_T_V2", f"http://localhost/{path.name}"
    )
    raft_flow.load_network.cache_clear()
    return project


def make_project(tmp_path: Path, variant: str, settings: dict) -> Project:
    """Write a project with one clip and one variant."""
    params = {
        "datasets": ["tiny"],
        "flow": {"short_side": 64},
        "variants": [variant],
        "feature_variants": {variant: settings},
        "cluster": {"workers": 0},
        "cache": {},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    project = Project.load(tmp_path)
    clips_dir = project.clips_dir("tiny")
    clips_dir.mkdir(parents=True)
    path = make_clip(clips_dir / "clip.mp4", size="160x136", seconds=1, fps="8")
    clip = {"clip_id": "clip", "status": "ok", "path": path.name, "sha256": sha256_of(path)}
    sample = {"sample_id": "a", "clip_id": "clip", "time_seconds": 0.5, "splits": ["all"]}
    write_table(project.samples_table_path("tiny"), [sample], SAMPLES)
    write_table(project.downloads_table_path("tiny"), [clip], DOWNLOADS)
    return project


def test_raft_computes_flow_that_every_command_knows(project, capsys, monkeypatch):
    monkeypatch.chdir(project.root)
    stages.feature.main(project, "flow-raft", "tiny")
    assert "tiny: flow-raft: 1 samples, 1 ok" in capsys.readouterr().out
    reader = FeatureReader(project.feature_dir("tiny", "flow-raft"))
    array = reader.read("a")
    assert array.shape == (2, 64, 75) and np.isfinite(array).all() and array.any()

    # Whoever has the shards alone makes the feature again, with the same code.
    feature = configure_feature(project, "flow-raft")
    assert (feature.name, feature.version) == ("flow", raft_flow.VERSION)
    assert set(json.loads(reader.attributes["software"])) > {"torch", "torchvision", "av"}
    recorded = json.loads(reader.attributes["parameters"])
    assert restore_feature("flow-raft", recorded).parameters == feature.parameters

    # Nothing is computed again, and it is verified by its own code.
    stages.feature.main(project, "flow-raft", "tiny")
    assert "0 computed" in capsys.readouterr().out
    assert pipeline_main(["--root", str(project.root), "verify", "--feature", "flow-raft"]) == 0


def test_the_frames_reach_raft_as_they_are(project):
    arguments = (configure_feature(project, "flow-raft").parameters, project.weights_dir)
    frames = np.random.default_rng(0).integers(0, 256, (2, 128, 136, 3), np.uint8)
    found = raft_flow.compute_raft(*arguments, *frames)

    network = raft_flow.load_network(*arguments)
    inputs = torch.from_numpy(frames).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        expected = network(inputs[:1], inputs[1:], num_flow_updates=2)[-1][0]
    np.testing.assert_allclose(found, expected.permute(1, 2, 0).numpy(), atol=1e-5)

    # Other sides are padded; the flow has the frame's own.
    assert raft_flow.compute_raft(*arguments, *frames[:, :99, :131]).shape == (99, 131, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_raft_on_a_gpu_agrees_with_that_on_the_cpu(project):
    parameters = configure_feature(project, "flow-raft").parameters
    frames = np.random.default_rng(0).integers(0, 256, (2, 128, 136, 3), np.uint8)
    on_gpu = dataclasses.replace(parameters, device="cuda")
    expected = raft_flow.compute_raft(parameters, project.weights_dir, *frames)
    found = raft_flow.compute_raft(on_gpu, project.weights_dir, *frames)
    np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_raft_without_a_gpu_is_refused_before_any_clip_is_read(project):
    project.params["feature_variants"]["flow-raft"]["device"] = "cuda"
    with pytest.raises(ParameterError, match="device is cuda, but PyTorch finds no GPU here"):
        stages.feature.main(project, "flow-raft", "tiny")
    assert not list(project.store_dir("tiny", "flow").glob("*.h5"))


def test_other_weights_than_torchvisions_are_refused(project):
    (path,) = project.weights_dir.glob("raft_small-*.pth")
    path.write_bytes(b"other")
    with pytest.raises(DataError, match=r"SHA-256 is .*, expected"):
        stages.feature.main(project, "flow-raft", "tiny")


def test_raft_is_one_line_of_params_and_needs_no_pytorch_to_be_described():
    project = Project.load(ROOT)
    project.params["variants"] = ["flow-raft"]
    feature = configure_feature(project, "flow-raft")
    assert feature.can_compute and feature.parameters == raft_flow.Parameters(code=CODE)

    code = "import sys; import train.inference.raft_flow; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


_TINY_CLIP = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1},
}


def write_tiny_clip(folder: Path) -> Path:
    """Write a model folder of open_clip with random weights; return the file of weights."""
    preprocessing = {"mean": [0.5] * 3, "std": [0.25] * 3}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": _TINY_CLIP, "preprocess_cfg": preprocessing})
    )
    torch.manual_seed(0)
    path = folder / "open_clip_pytorch_model.bin"
    torch.save(open_clip.CLIP(**_TINY_CLIP).state_dict(), path)
    return path


def test_a_feature_that_earshot_does_not_have(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "clip"
    folder.mkdir()
    settings = {
        "code": "examples.clip_embeddings",
        "folder": str(folder),
        "sha256": sha256_of(write_tiny_clip(folder)),
    }
    project = make_project(tmp_path, "clip-tiny", settings)
    monkeypatch.chdir(project.root)
    check_variants(project)
    stages.feature.main(project, "clip-tiny", "tiny")
    assert "tiny: clip-tiny: 1 samples, 1 ok" in capsys.readouterr().out

    # The array is open_clip's own answer for the frame, as PIL prepares it.
    (found,) = Samples(project.dataset_cache_dir("tiny"), "all", ["clip-tiny"])
    network, prepare = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    with ClipReader(project.clips_dir("tiny") / "clip.mp4") as reader:
        (frame,) = read_frames(reader, [0.5])
    with torch.inference_mode():
        expected = network.eval().encode_image(prepare(Image.fromarray(frame.rgb))[None])[0]
    assert found["clip-tiny"].shape == (8,) and found["clip-tiny"].norm() == pytest.approx(1)
    torch.testing.assert_close(found["clip-tiny"], expected / expected.norm(), atol=1e-5, rtol=0)

    # Commands know it by its name, and whoever has its shards makes it again.
    root = ["--root", str(project.root)]
    assert pipeline_main([*root, "verify", "--feature", "clip-tiny"]) == 0
    assert pipeline_main([*root, "status"]) == 0
    assert "clip-tiny" in capsys.readouterr().out
    recorded = FeatureReader(project.feature_dir("tiny", "clip-tiny")).attributes["parameters"]
    restored = restore_feature("clip-tiny", json.loads(recorded))
    assert restored.parameters == configure_feature(project, "clip-tiny").parameters

    # Other weights than those that were named are refused.
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"other")
    clip_embeddings.load_network.cache_clear()
    with pytest.raises(DataError, match=r"has no open_clip_model\.safetensors or .*, or not the"):
        clip_embeddings.load_network(settings["folder"], settings["sha256"])


def test_a_feature_of_ones_own_needs_code(tmp_path):
    project = make_project(tmp_path, "clip-tiny", {"folder": "weights"})
    with pytest.raises(ParameterError, match=r"'clip-tiny'.*own needs the key code"):
        check_variants(project)
    project.params["feature_variants"]["clip-tiny"] = {"code": "examples.clip_embeddings"}
    with pytest.raises(ParameterError, match=r"missing key feature_variants\.clip-tiny\.folder"):
        check_variants(project)


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
        ("train.raft_flwo", "flow-raft: code is 'train.raft_flwo', expected the dotted name"),
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
