"""ImageNet's weights: which parts of an encoder they initialize, and which files are refused."""

import numpy as np
import pytest
import torch
import torchvision

from earshot.errors import DataError, ParameterError
from tests.helpers.downloads.offline import cut_network
from train.inference.predictor import make_untrained_predictor
from train.models.registry import build_parameters, make_model
from train.runs.run_folder import write_model
from train.weights.frozen_networks import attach_classifier
from train.weights.imagenet_weights import expand_channels, load_imagenet_weights
from train.weights.initialization import initialize


def test_imagenet_file_initializes_encoders_of_any_input(tmp_path):
    torch.manual_seed(0)
    weights = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(weights, tmp_path / "resnet18.pth")
    for method, key, num_channels in [
        ("ezvsl", "imgnet.conv1.weight", 3),
        ("flowgrad_ic", "image_encoder.conv1_flow.weight", 4),
        ("flowgrad_en", "flow_encoder.conv1_flow.weight", 1),
    ]:
        parameters = build_parameters(
            {"method": method, "init": str(tmp_path / "resnet18.pth")}, "test"
        )
        model = make_model(parameters)
        initialize(model, parameters, weights_dir=None)
        state = model.state_dict()
        expected = expand_channels(weights["conv1.weight"], num_channels)
        torch.testing.assert_close(state[key], expected)
        encoder = key.split(".")[0]
        torch.testing.assert_close(
            state[f"{encoder}.layer4.1.bn2.weight"], weights["layer4.1.bn2.weight"]
        )
        torch.testing.assert_close(
            state[f"{encoder}.layer3.0.conv1.weight"], weights["layer3.0.conv1.weight"]
        )


def test_imagenet_file_initializes_the_flow_encoder_of_htf_but_for_its_first_convolution(tmp_path):
    weights = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(weights, tmp_path / "resnet18.pth")
    for flow_encoder in ("cnn", "maxpool"):
        values = {
            "method": "htf",
            "flow_encoder": flow_encoder,
            "init": str(tmp_path / "resnet18.pth"),
        }
        parameters = build_parameters(values, "test")
        model = make_model(parameters)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        initialize(model, parameters, weights_dir=None)
        state = model.state_dict()
        assert torch.equal(state["imgnet.conv1.weight"], weights["conv1.weight"])
        assert torch.equal(
            state["audnet.layer1.0.conv1.weight"], before["audnet.layer1.0.conv1.weight"]
        )
        if flow_encoder == "cnn":
            assert torch.equal(state["flownet.conv1.weight"], before["flownet.conv1.weight"])
            assert torch.equal(
                state["flownet.layer4.1.conv2.weight"], weights["layer4.1.conv2.weight"]
            )


def save_rcgrad(path, *, layout="run", **settings):
    """Save a trained RCGrad: as the folder of a run, or as its authors gave it away."""
    parameters = build_parameters({"method": "rcgrad", "init": "random", **settings}, "test")
    model = make_model(parameters, seed=7)
    state = model.state_dict()
    if layout == "run":
        write_model(path, model, parameters)
    else:
        torch.save(state | {"image_encoder.conv1_flow.weight": torch.zeros(8, 6, 7, 7)}, path)
    return state


@pytest.mark.parametrize("layout", ["run", "published"])
@pytest.mark.parametrize("method", ["rcgrad", "flowgrad_ic", "flowgrad_en"])
def test_flowgrad_begins_with_both_encoders_of_a_trained_rcgrad(tmp_path, method, layout):
    source = save_rcgrad(tmp_path / "rcgrad", layout=layout, width=8)
    values = {"method": method, "width": 8, "init": str(tmp_path / "rcgrad")}
    parameters = build_parameters(values, "test")
    model = make_model(parameters)
    initialize(model, parameters, weights_dir=None)
    state = model.state_dict()

    for key, values in source.items():
        if key.startswith("audio_encoder.") or ".layer" in key or ".bn1." in key:
            assert torch.equal(state[key], values), key
    rgb = source["image_encoder.conv1.weight"]
    if method == "flowgrad_ic":
        first = state["image_encoder.conv1_flow.weight"]
        assert torch.equal(first[:, :3], rgb)
        torch.testing.assert_close(first[:, 3], rgb.mean(1))
    else:
        assert torch.equal(state["image_encoder.conv1.weight"], rgb)
    if method == "flowgrad_en":
        first = state["flow_encoder.conv1_flow.weight"]
        torch.testing.assert_close(first, rgb.mean(1, keepdim=True))
        name = "layer3.0.conv1.weight"
        assert torch.equal(state[f"flow_encoder.{name}"], source[f"image_encoder.{name}"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "flowgrad_ic", "width": 12}, "expected an RCGrad of the same backbone and"),
        (
            {"method": "ezvsl"},
            "holds a trained rcgrad, but .* are missing .*; this one is of ezvsl",
        ),
        ({"method": "rcgrad", "init": "/no/run"}, "/no/run is not a file; .* has to be made first"),
    ],
)
def test_a_trained_network_that_does_not_fit_is_refused(tmp_path, settings, words):
    save_rcgrad(tmp_path / "rcgrad", width=8)
    parameters = build_parameters({"width": 8, "init": str(tmp_path / "rcgrad"), **settings}, "t")
    with pytest.raises(DataError, match=words):
        initialize(make_model(parameters), parameters, weights_dir=None)


@pytest.mark.parametrize("method", ["rcgrad", "flowgrad_ic", "ezvsl"])
@pytest.mark.parametrize("part", ["image_encoder.layer1.0.conv1", "audio_encoder.conv1"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: (values * 100).to(torch.int8), "type"),
        (lambda values: values.to(torch.complex64), "type"),
        # Finite, but not in float32, in which the network keeps it.
        (lambda values: values.double() + 1e300, "conv1.weight is not finite"),
    ],
    ids=["int8", "complex", "float64"],
)
def test_numbers_that_are_no_weights_are_refused(tmp_path, method, part, change, words):
    """A file of quantized weights began a training with whole numbers, without a word."""
    first = "ezvsl" if method == "ezvsl" else "rcgrad"
    if method == "ezvsl":
        part = part.replace("image_encoder", "imgnet").replace("audio_encoder", "audnet")
    values = {"method": first, "width": 8, "init": "random"}
    state = make_model(build_parameters(values, "test")).state_dict()
    state[f"{part}.weight"] = change(state[f"{part}.weight"])
    torch.save(state, tmp_path / "a.pth")

    values = {"method": method, "width": 8, "init": str(tmp_path / "a.pth")}
    parameters = build_parameters(values, "test")
    with pytest.raises(DataError, match=words):
        initialize(make_model(parameters), parameters, weights_dir=None)


def test_a_run_that_goes_on_from_another_one_takes_its_momentum_copies(tmp_path):
    values = {"method": "slavc", "width": 8, "embedding_size": 8, "init": "random"}
    first = build_parameters(values, "test")
    trained = make_model(first, seed=7)
    with torch.no_grad():
        trained.momentum_aud_proj1.weight.fill_(3)
    write_model(tmp_path / "first", trained, first)

    parameters = build_parameters(values | {"init": str(tmp_path / "first")}, "test")
    model = make_model(parameters)
    initialize(model, parameters, weights_dir=None)
    for key, values in trained.state_dict().items():
        assert torch.equal(model.state_dict()[key], values), key


def test_an_untrained_network_begins_where_its_run_began(tmp_path):
    """With random weights, frozen features of ImageNet would be credited to the training."""
    weights = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(weights, tmp_path / "resnet18.pth")
    values = {"method": "htf", "flow_encoder": "maxpool", "init": str(tmp_path / "resnet18.pth")}
    predictor = make_untrained_predictor(build_parameters(values, "test"), device="cpu")
    state = predictor.model.state_dict()
    for name in ("conv1.weight", "layer4.1.conv2.weight"):
        assert torch.equal(state[f"imgnet.{name}"], weights[name])


def test_flowgrad_channel_is_the_mean_of_rgb():
    rgb = torch.randn(4, 3, 7, 7)
    four = expand_channels(rgb, 4)
    assert torch.equal(four[:, :3], rgb)
    torch.testing.assert_close(four[:, 3], rgb.mean(1))
    torch.testing.assert_close(expand_channels(rgb, 1)[:, 0], rgb.mean(1))


def test_imagenet_offline_names_the_alternatives(tmp_path, monkeypatch):
    cut_network(monkeypatch)
    with pytest.raises(
        DataError, match=r"cannot be fetched: no network; set init to random .*path of a file"
    ):
        load_imagenet_weights("resnet18", init="imagenet", weights_dir=tmp_path)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_imagenet_weights_of_another_backbone_are_refused(tmp_path, backbone):
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "a.pth")
    parameters = build_parameters(
        {"method": "ezvsl", "backbone": backbone, "init": str(tmp_path / "a.pth")}, "t"
    )
    with pytest.raises(DataError, match="expected torchvision's weights of the same backbone"):
        initialize(make_model(parameters), parameters, weights_dir=None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1.0], "holds list, expected a state dict"),
        ({"conv1.weight": 3}, "entries that are not (plain) tensors: conv1.weight"),
        ({0: torch.zeros(1)}, "entries that are not (plain) tensors: 0"),
        ({"conv1.weight": torch.full((64, 3, 7, 7), float("nan"))}, "conv1.weight is not finite"),
    ],
)
def test_a_file_without_weights_is_refused(tmp_path, content, words):
    torch.save(content, tmp_path / "a.pth")
    for init in (str(tmp_path / "a.pth"), str(tmp_path)):
        with pytest.raises(DataError) as caught:
            load_imagenet_weights("resnet18", init=init, weights_dir=None)
        assert (words if init.endswith("a.pth") else "Is a directory") in str(caught.value)


def test_narrow_encoders_have_no_imagenet_weights():
    parameters = build_parameters({"method": "ezvsl", "width": 16}, "test")
    with pytest.raises(ParameterError, match="needs the full width"):
        initialize(make_model(parameters), parameters, weights_dir=None)
    assert np.isfinite(parameters.learning_rate)


@pytest.mark.parametrize("kind", ["l1", "cls"])
def test_only_class_probabilities_need_the_head_of_a_classifier(tmp_path, kind):
    weights = torchvision.models.resnet18(weights=None).state_dict()
    headless = {key: value for key, value in weights.items() if not key.startswith("fc.")}
    torch.save(headless, tmp_path / "headless.pth")
    values = {
        "method": "ezvsl",
        "object_guidance": kind,
        "object_guidance_weights": str(tmp_path / "headless.pth"),
    }
    model = make_model(build_parameters(values, "test"))
    keys = set(model.state_dict())

    if kind == "cls":
        with pytest.raises(
            DataError, match=r"has no fc\.bias, expected a classifier with its head"
        ):
            attach_classifier(model, weights_dir=None)
    else:
        attach_classifier(model, weights_dir=None)
    assert set(model.state_dict()) == keys  # the classifier is no part of the model's state
