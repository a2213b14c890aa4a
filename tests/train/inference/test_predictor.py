"""Predictors: a written model predicts as the one in memory; untrained ones are seeded."""

import cv2
import numpy as np
import pytest
import torch
import torchvision

from earshot.errors import DataError, ParameterError
from eval.entrants.baselines import make_flow_map
from pipeline.base.progress import Progress
from tests.helpers.scoring import flowgrad_rules
from tests.helpers.training.teachers import write_soundnet
from tests.helpers.training.toy_features import write_features
from train.data.feature_readers import open_readers
from train.inference.entrants import _make_entrant
from train.inference.predictor import Predictor, load_predictor, make_untrained_predictor
from train.models.registry import METHODS, build_parameters, make_model
from train.networks.encoders.image_encoder import make_encoder
from train.runs.run_folder import read_features, write_model
from train.weights.frozen_networks import attach_classifier
from train.weights.initialization import initialize

SMALL = {"width": 8, "image_size": 64, "init": "random", "spectrogram_pooling": 4}


def small_parameters(method, **settings):
    if method in ("htf", "attention10k", "sspl"):
        settings["freeze_vision"] = False
    if method == "sspl":
        settings |= {"freeze_sound": False, "teacher_weights": "random"}
    return build_parameters({"method": method, **SMALL, **settings}, "test")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_features(tmp_path_factory.mktemp("toy"), 5)


@pytest.mark.parametrize("method", METHODS)
def test_written_model_predicts_as_in_memory(toy, tmp_path, method):
    dirs, ids, _ = toy
    teacher = {"teacher_weights": write_soundnet(tmp_path)} if method == "attention10k" else {}
    parameters = small_parameters(method, **teacher)
    model = make_model(parameters, seed=4)
    if teacher:
        attach_classifier(model, weights_dir=None)
    write_model(tmp_path, model, parameters, features={"frames": {"short_side": 48}})
    predictor = load_predictor(tmp_path, device="cpu")
    assert predictor.parameters == parameters
    assert read_features(tmp_path) == {"frames": {"short_side": 48}}
    readers = open_readers(dirs, predictor.reads)
    with Progress(5, "predict", is_quiet=True) as progress:
        maps = predictor.predict(ids, readers, progress=progress)
        assert progress.num_done == 5
    assert maps.dtype == np.float32
    assert maps.shape[0] == 5
    assert np.isfinite(maps).all()
    np.testing.assert_array_equal(
        maps, Predictor(model, parameters, device="cpu").predict(ids, readers)
    )
    one_by_one = np.concatenate([predictor.predict([sample_id], readers) for sample_id in ids])
    # Another batch sums in another order; DMC's assignments are a steep function of the sums.
    atol = 1e-3 if method == "dmc" else 1e-4
    np.testing.assert_allclose(one_by_one, maps, atol=atol)
    np.testing.assert_allclose(predictor.predict(ids[::-1], readers)[::-1], maps, atol=atol)


def test_untrained_predictors_follow_their_seed(toy):
    dirs, ids, _ = toy
    parameters = small_parameters("ezvsl")
    readers = open_readers(dirs, ("frames", "spectrograms"))
    torch.manual_seed(1)
    first, again, other = (
        make_untrained_predictor(parameters, seed, device="cpu").predict(ids, readers)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
    assert make_untrained_predictor(parameters, device="cpu").predict([], readers).shape[0] == 0


@pytest.mark.parametrize("kind", ["l1", "cls"])
def test_object_guidance_mixes_two_normalized_maps(toy, tmp_path, kind):
    """Alpha 1 leaves only the audio-visual map, alpha 0 only the map of objects."""
    import torchvision

    dirs, ids, _ = toy
    torch.manual_seed(0)
    classifier = torchvision.models.resnet18(weights=None)
    torch.save(classifier.state_dict(), tmp_path / "weights.pth")
    readers = open_readers(dirs, ("frames", "spectrograms"))

    def predict(**settings):
        parameters = small_parameters(
            "ezvsl", object_guidance_weights=str(tmp_path / "weights.pth"), **settings
        )
        return make_untrained_predictor(parameters, device="cpu").predict(ids, readers)

    plain = torch.from_numpy(predict())[:, None]
    plain = torch.nn.functional.interpolate(
        plain, size=(64, 64), mode="bilinear", align_corners=True
    )[:, 0].numpy()
    low, high = plain.min((1, 2), keepdims=True), plain.max((1, 2), keepdims=True)
    only_sound = predict(object_guidance=kind, object_guidance_alpha=1.0)
    np.testing.assert_allclose(only_sound, (plain - low) / (high - low), atol=1e-4)
    only_object = predict(object_guidance=kind, object_guidance_alpha=0.0)
    mixed = predict(object_guidance=kind)
    expected = 0.4 * only_sound + 0.6 * only_object
    low, high = expected.min((1, 2), keepdims=True), expected.max((1, 2), keepdims=True)
    np.testing.assert_allclose(mixed, (expected - low) / (high - low), atol=1e-4)
    assert mixed.shape == (5, 64, 64)


def test_foreign_and_missing_models_are_refused(tmp_path):
    with pytest.raises(DataError, match="not found"):
        load_predictor(tmp_path)
    torch.save({"model": {}}, tmp_path / "model.ckpt")
    with pytest.raises(DataError, match="not a model of Earshot's training"):
        load_predictor(tmp_path)


def test_map_strides_and_widths():
    for stride, size in ((32, 2), (16, 4), (8, 8)):
        encoder = make_encoder("resnet18", in_channels=3, width=8, map_stride=stride)
        assert encoder(torch.zeros(1, 3, 64, 64)).shape == (1, 64, size, size)


@pytest.mark.parametrize(
    "backbone", ["resnet50", "convnext_tiny", "mobilenet_v3_small", "regnet_x_400mf"]
)
def test_other_backbones_as_an_experiment(backbone):
    parameters = build_parameters(
        {"method": "ezvsl", "backbone": backbone, "init": "random"}, "test"
    )
    model = make_model(parameters).eval()
    inputs = {"frames": torch.zeros(1, 3, 64, 64), "spectrograms": torch.randn(1, 1, 64, 64)}
    with torch.no_grad():
        assert model.localize(inputs).shape[0] == 1


@pytest.mark.parametrize("method", ["rcgrad", "flowgrad_ic", "flowgrad_en"])
def test_other_backbones_hear_waveforms_and_read_torchvisions_weights(tmp_path, method):
    """RegNet's trunk has two parts in torchvision; its stem gets FlowGrad's channels."""
    backbone = "regnet_x_400mf"
    weights = torchvision.models.get_model(backbone, weights=None).state_dict()
    torch.save(weights, tmp_path / "weights.pth")
    values = {
        "method": method,
        "backbone": backbone,
        "map_stride": 32,
        "init": str(tmp_path / "weights.pth"),
    }
    parameters = build_parameters(values, "test")
    model = make_model(parameters).eval()
    initialize(model, parameters, weights_dir=None)
    found = model.image_encoder.trunk.state_dict()
    assert torch.equal(found["0.0.weight"][:, :3], weights["stem.0.weight"])
    assert torch.equal(
        found["1.block4.block4-0.f.a.0.weight"],
        weights["trunk_output.block4.block4-0.f.a.0.weight"],
    )
    if method == "flowgrad_ic":
        torch.testing.assert_close(found["0.0.weight"][:, 3], weights["stem.0.weight"].mean(1))
    inputs = {
        "frames": torch.randn(2, 3, 64, 64),
        "flow": torch.rand(2, 1, 64, 64),
        "waveforms": torch.randn(2, 8000),
    }
    model.train()
    model.make_criterion()(model.embed(inputs)).backward()
    with torch.no_grad():
        assert model.eval().localize(inputs).shape == (2, 64, 64)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "missing key train.x.method"),
        ({"method": "lsv"}, "unknown train.x.method 'lsv'; known: .*ezvsl"),
        ({"method": "htf", "tua": 1}, "unknown key train.x.tua"),
        ({"method": "htf", "init": "random"}, "freeze_vision with init random"),
        ({"method": "ezvsl", "tau": 0}, r"tau \(0.0\) must be > 0"),
        ({"method": "ezvsl", "map_stride": 12}, r"map_stride \(12\) must be one of 8, 16, 32"),
        ({"method": "ezvsl", "batch_size": 1}, "batch_size .* needs negatives"),
        ({"method": "rcgrad", "schedule": "step"}, "schedule"),
        ({"method": "rcgrad", "image_std": [0.2, 0.2, 0.0]}, r"image_std .* must be > 0"),
        (
            {"method": "lvs", "learning_rate": float("nan")},
            "learning_rate is nan, expected a finite number",
        ),
    ],
)
def test_wrong_parameters_are_named(values, message):
    with pytest.raises(ParameterError, match=message):
        build_parameters(values, "train.x")


def test_unknown_backbone_is_named():
    with pytest.raises(ParameterError, match="unknown backbone 'resnet19'"):
        make_encoder("resnet19", in_channels=3)
    with pytest.raises(ParameterError, match="width and map_stride are for ResNets"):
        make_encoder("convnext_tiny", in_channels=3, width=16)


def test_flowgrad_h_has_the_maps_that_its_authors_score(toy):
    """RCGrad's cleaned map times the 8-bit flow, and under their protocol alone."""
    dirs, ids, _ = toy
    predictor = make_untrained_predictor(small_parameters("flowgrad_h"), 0, device="cpu")
    entrant = _make_entrant("h", "model", predictor)
    readers = open_readers(dirs, predictor.reads)
    assert list(entrant.parity) == ["flowgrad"]
    maps = entrant.parity["flowgrad"](ids, readers)

    rcgrad = make_untrained_predictor(small_parameters("rcgrad"), 0, device="cpu")
    heatmaps = rcgrad.predict(ids, readers)
    assert len(maps) == len(heatmaps) == 5
    for position, name in enumerate(ids):
        flow_map = make_flow_map(readers["flow"].read(name), coding="flowgrad")
        heatmap = cv2.resize(heatmaps[position], (224, 224), interpolation=cv2.INTER_LINEAR)
        expected = flowgrad_rules.clean(heatmap) * flow_map
        np.testing.assert_allclose(maps[position], expected, atol=1e-4)
        assert maps[position].max() != 1  # not normalized

    np.testing.assert_array_equal(entrant.predict(ids, readers), predictor.predict(ids, readers))
    assert not _make_entrant("r", "model", rcgrad).parity
