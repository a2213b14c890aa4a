"""The map of objects alone: a classifier's map of each frame, and weights that are refused."""

import numpy as np
import pytest

from earshot.errors import DataError
from tests.helpers.downloads.offline import cut_network

torch = pytest.importorskip("torch")
baseline = pytest.importorskip("train.inference.object_baseline")


@pytest.fixture(scope="module")
def weights_path(tmp_path_factory):
    import torchvision

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "untrained.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    return path


class Reader:
    def __init__(self):
        self.arrays = {
            f"s{i}": np.random.default_rng(i).integers(0, 255, (246, 328, 3), np.uint8)
            for i in range(3)
        }

    def read_batch(self, sample_ids):
        return [self.arrays[sample_id] for sample_id in sample_ids]

    def read(self, sample_id):
        return self.arrays[sample_id]


def test_maps_are_those_of_torchvisions_classifier(weights_path, tmp_path):
    import torchvision

    reference = torchvision.models.resnet18(weights=None)
    reference.load_state_dict(torch.load(weights_path, weights_only=True))
    trunk = torch.nn.Sequential(*list(reference.eval().children())[:-2])
    for name in baseline.KINDS:
        predictor = baseline.make_object_predictor(
            name, weights=str(weights_path), weights_dir=tmp_path, device="cpu"
        )
        assert predictor.reads == ("frames",)
        maps = predictor.predict(["s2", "s0"], {"frames": Reader()})
        assert maps.shape == (2, 7, 7)
        assert maps.dtype == np.float32
        np.testing.assert_array_equal(maps[1:], predictor.predict(["s0"], {"frames": Reader()}))
        captured = []
        classifier = predictor.model._guidance.classifier
        classifier.register_forward_pre_hook(
            lambda module, inputs, to=captured: to.append(inputs[0])
        )
        predictor.predict(["s2"], {"frames": Reader()})
        with torch.no_grad():
            features = trunk(captured[0])
            if name == "ogl_l1":
                expected = features.abs().mean(1)
            else:
                expected = reference.fc(features.permute(0, 2, 3, 1)).softmax(-1).amax(-1)
        np.testing.assert_allclose(maps[:1], expected.numpy(), rtol=1e-4, atol=1e-6)


def test_weights_that_cannot_be_had_are_one_sentence(tmp_path, monkeypatch):
    cut_network(monkeypatch)
    with pytest.raises(DataError) as raised:
        baseline.make_object_predictor("ogl_l1", weights="imagenet", weights_dir=tmp_path)
    text = str(raised.value)
    assert text.startswith("the baseline ogl_l1 needs an ImageNet resnet18: https://")
    remedy = (
        "set evaluate.object_guidance_weights to the path of torchvision's file, or remove ogl_l1 "
        "from evaluate.baselines"
    )
    assert text.endswith(f"cannot be fetched: no network; {remedy}")
    headless = tmp_path / "headless.pth"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, headless)
    for name, message in (("ogl_l1", "weights are missing"), ("ogl_cls", "has no fc.bias")):
        with pytest.raises(DataError, match=message):
            baseline.make_object_predictor(name, weights=str(headless), weights_dir=tmp_path)
