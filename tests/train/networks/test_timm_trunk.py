"""Backbones of timm: they train, get weights of timm's classifiers, and wrong ones are named."""

import sys

import pytest
import timm
import torch

from earshot.errors import DataError, ParameterError
from tests.helpers.training.toy_runs import losses, run, tiny
from train.inference.predictor import load_predictor
from train.models.registry import build_parameters, make_model
from train.networks.encoders.image_encoder import FULL_WIDTH, make_encoder
from train.runs.run_key import _find_versions
from train.weights.initialization import initialize

_NAME = "test_convnext"  # timm's network for tests: tiny
_SETTINGS = {"backbone": f"timm/{_NAME}", "width": FULL_WIDTH, "map_stride": 32}


def test_a_network_of_timm_trains_and_loads_again(toy, tmp_path):
    parameters = tiny(**_SETTINGS, epochs=1)
    result = run(toy, tmp_path / "run", parameters)
    assert torch.isfinite(torch.tensor(losses(result))).all()
    assert load_predictor(tmp_path / "run", device="cpu").parameters.backbone == f"timm/{_NAME}"


def test_weights_of_its_classifier_are_read(tmp_path):
    """FlowGrad's further channel gets the mean of RGB, as for other backbones."""
    classifier = timm.create_model(_NAME, pretrained=False)
    torch.save(classifier.state_dict(), tmp_path / "weights.pth")
    values = {"method": "flowgrad_ic", "init": str(tmp_path / "weights.pth"), **_SETTINGS}
    parameters = build_parameters(values, "test")
    model = make_model(parameters)
    initialize(model, parameters, weights_dir=None)

    own = model.image_encoder.trunk.network.state_dict()
    given = classifier.state_dict()
    assert torch.equal(own["stem.0.weight"][:, :3], given["stem.0.weight"])
    torch.testing.assert_close(own["stem.0.weight"][:, 3], given["stem.0.weight"].mean(1))
    others = [name for name in own if name != "stem.0.weight"]
    assert len(others) > 10 and all(torch.equal(own[name], given[name]) for name in others)

    other = timm.create_model("test_resnet", pretrained=False)
    torch.save(other.state_dict(), tmp_path / "weights.pth")
    with pytest.raises(DataError, match="of the encoder's weights are missing"):
        initialize(model, parameters, weights_dir=None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test_convnet", "unknown backbone 'timm/test_convnet'.*did you mean test_conv"),
        ("test_vit", "gives no small map of pictures of any size"),
    ],
)
def test_a_wrong_backbone_is_named(name, words):
    with pytest.raises(ParameterError, match=words):
        make_encoder(f"timm/{name}", in_channels=3)


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ParameterError, match=r"needs the package timm.*'\.\[timm\]'"):
        make_encoder(f"timm/{_NAME}", in_channels=3)


def test_its_version_is_in_the_key_of_its_runs_only():
    assert _find_versions(f"timm/{_NAME}")["timm"] == timm.__version__
    assert "timm" not in _find_versions("resnet18")
