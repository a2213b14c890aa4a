"""Published layouts load strictly and give the golden maps; other files are refused."""

import pickle
import re
import zipfile

import numpy as np
import pytest
import torch

from earshot.errors import DataError
from earshot.files import sha256_of
from tests.helpers.training.golden_formula import (
    METHODS,
    fill_state_dict,
    inputs_of,
    make_formula_model,
)
from train.data.augmentation import encode_flow
from train.import_weights import main
from train.inference.predictor import load_predictor
from train.models.registry import build_parameters, make_model
from train.runs.run_folder import read_run
from train.weights.published_checkpoints import load_published
from train.weights.published_layouts import recognize_method
from train.weights.state_dicts import read_weights

NARROW = {"width": 8, "image_size": 64}


def narrow_state(name, salt="public"):
    model = make_model(build_parameters({**METHODS[name], "width": 8}, "test"))
    return fill_state_dict(model.state_dict(), salt)


def published_layouts(name):
    """Every layout in which the authors' files of a method came, as a function of a state dict."""

    def prefixed(prefix):
        return lambda state: {prefix + key: value for key, value in state.items()}

    if name == "lvs":
        return [lambda state: {"epoch": 3, "model_state_dict": prefixed("module.")(state)}]
    if name == "ezvsl":
        return [
            lambda state: {"model": state, "epoch": 7},
            lambda state: {"model": prefixed("module.")(state)},
        ]
    if name.startswith("htf"):

        def lightning(state):
            return {
                "state_dict": prefixed("model.")(state),
                "pytorch-lightning_version": "1.6",
            }

        return [lambda state: {"model": state}, lightning]
    if name == "rcgrad":
        unused = {"image_encoder.conv1_flow.weight": torch.zeros(64, 6, 7, 7)}
        return [lambda state: state, lambda state: {**state, **unused}]
    scale = {
        "loss_fn.logit_scale": torch.tensor(2.66)
    }  # what the authors' Lightning module holds besides
    return [
        lambda state: {"state_dict": {**state, **scale}, "optimizer": {"lr": 0.1}},
        lambda state: state,
    ]


LAYOUTS = [(name, number) for name in METHODS for number in range(len(published_layouts(name)))]


@torch.no_grad()
@pytest.mark.parametrize(("name", "number"), LAYOUTS)
def test_published_layouts_load_and_give_the_maps(tmp_path, name, number):
    path = tmp_path / "weights.pth"
    torch.save(published_layouts(name)[number](narrow_state(name, "another")), path)
    model, parameters = load_published(
        path, None, {"width": 8, "flow_encoding": "signed"} if "htf" in name else {"width": 8}
    )
    assert parameters.method == METHODS[name]["method"]
    inputs = {
        key: values[:1, ..., :16000] if key == "waveforms" else values[:1]
        for key, values in inputs_of(name).items()
    }
    settings = (
        {"uses_batch_statistics": True} if hasattr(parameters, "uses_batch_statistics") else {}
    )
    expected = make_formula_model(name, "another", width=8, **settings).localize(inputs)
    torch.testing.assert_close(model.localize(inputs), expected)


def test_full_size_file_becomes_a_run_folder(tmp_path, capsys):
    state = fill_state_dict(make_model(build_parameters({"method": "ezvsl"}, "test")).state_dict())
    torch.save({"model": state}, tmp_path / "best.pth")
    assert main([str(tmp_path / "best.pth"), str(tmp_path / "run")]) == 0
    assert "ezvsl weights" in capsys.readouterr().out
    predictor = load_predictor(tmp_path / "run", device="cpu")
    assert torch.equal(predictor.model.state_dict()["img_proj.weight"], state["img_proj.weight"])
    run = read_run(tmp_path / "run")
    assert (run["status"], run["selection"], run["method"]) == ("ok", "released", "ezvsl")
    assert run["sha256"] == sha256_of(tmp_path / "best.pth")


def refuse(path, method=None):
    with pytest.raises(DataError) as caught:
        load_published(path, method, {"width": 8})
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_wrong_model_is_named_with_keys(tmp_path):
    torch.save({"model": narrow_state("ezvsl")}, tmp_path / "a.pth")
    message = refuse(tmp_path / "a.pth", "htf")
    assert "missing (flownet." in message
    assert "img_proj.weight" in message
    assert message.endswith("looks like ezvsl")


def test_a_stem_that_reads_flow_is_not_an_unused_one(tmp_path):
    """FlowGrad-IC's file has every key of RCGrad and one more, which is not RCGrad's unused one."""
    torch.save({"state_dict": narrow_state("flowgrad_ic")}, tmp_path / "ic.ckpt")
    message = refuse(tmp_path / "ic.ckpt", "rcgrad")
    assert "1 keys are not in the model (image_encoder.conv1_flow.weight)" in message
    assert message.endswith("looks like flowgrad_ic")


def test_wrong_shapes_are_named(tmp_path):
    state = narrow_state("ezvsl")
    state["img_proj.weight"] = torch.zeros(512, 32, 1, 1)
    torch.save({"model": state}, tmp_path / "a.pth")
    assert "img_proj.weight is (512, 32, 1, 1), expected (512, 64, 1, 1)" in refuse(
        tmp_path / "a.pth"
    )


def test_missing_and_unknown_keys_are_refused(tmp_path):
    state = narrow_state("rcgrad")
    del state["audio_encoder.bn1.bias"]
    torch.save(state, tmp_path / "a.pt")
    assert "1 keys are missing (audio_encoder.bn1.bias)" in refuse(tmp_path / "a.pt")
    torch.save({**narrow_state("lvs"), "imgnet.extra": torch.zeros(1)}, tmp_path / "b.pt")
    assert "1 keys are not in the model (imgnet.extra)" in refuse(tmp_path / "b.pt")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = narrow_state("ezvsl")
    state["aud_proj.bias"][3] = float("nan")
    torch.save({"model": state}, tmp_path / "a.pth")
    assert "hold NaN or infinity (aud_proj.bias)" in refuse(tmp_path / "a.pth")

    # Finite, but not in float32, in which the network keeps it.
    state["aud_proj.bias"] = torch.full_like(state["aud_proj.bias"], 1e300, dtype=torch.float64)
    torch.save({"model": state}, tmp_path / "a.pth")
    assert "hold NaN or infinity (aud_proj.bias)" in refuse(tmp_path / "a.pth")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.module."])
def test_what_wrappers_put_before_the_names_is_left_out(tmp_path, prefix):
    state = narrow_state("ezvsl")
    renamed = {f"{prefix}{key}": values for key, values in state.items()}
    torch.save({"state_dict": renamed, "optimizer": {"state": {}}, "epoch": 3}, tmp_path / "a.pth")
    found = read_weights(tmp_path / "a.pth")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], values) for key, values in state.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            torch.Tensor.int,
            "have another type (aud_proj.weight is torch.int32, expected torch.float32)",
        ),
        (torch.Tensor.to_sparse, "entries that are not (plain) tensors: aud_proj.weight"),
        (
            lambda values: values.to("meta"),
            "entries that are not (plain) tensors: aud_proj.weight",
        ),
    ],
)
def test_tensors_that_hold_no_weights_are_refused(tmp_path, change, words):
    state = narrow_state("ezvsl")
    state["aud_proj.weight"] = change(state["aud_proj.weight"])
    torch.save({"model": state}, tmp_path / "a.pth")
    assert words in refuse(tmp_path / "a.pth")


def test_torchvision_weights_are_recognized(tmp_path):
    import torchvision

    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet.pth")
    assert refuse(tmp_path / "resnet.pth", "lvs").endswith("looks like a torchvision ResNet")
    assert "are of no known model" in refuse(tmp_path / "resnet.pth")


def test_scores_and_callbacks_beside_the_weights_do_no_harm(tmp_path):
    import argparse

    extra = {
        "best_Auc": np.float64(0.6),
        "best_cIoU": np.float32(0.8),
        "args": argparse.Namespace(lr=0.1),
    }
    torch.save({"model": narrow_state("ezvsl"), **extra}, tmp_path / "best.pth")
    model, _ = load_published(tmp_path / "best.pth", None, {"width": 8})
    assert torch.equal(model.state_dict()["aud_proj.bias"], narrow_state("ezvsl")["aud_proj.bias"])


def test_old_torch_format_loads(tmp_path):
    torch.save(
        {"model_state_dict": narrow_state("lvs")},
        tmp_path / "a.pth.tar",
        _use_new_zipfile_serialization=False,
    )
    assert load_published(tmp_path / "a.pth.tar", None, {"width": 8})[1].method == "lvs"
    content = (tmp_path / "a.pth.tar").read_bytes()
    for damaged in (
        content[: len(content) // 2],
        *(content[:position] for position in range(1, 2000, 97)),
    ):
        (tmp_path / "a.pth.tar").write_bytes(damaged)
        assert re.search(
            "not a checkpoint of PyTorch, or a damaged one|names code",
            refuse(tmp_path / "a.pth.tar"),
        )


def test_a_file_that_unpacks_to_more_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", bytes(10**7))
    assert "its entries would unpack to 10000002 bytes" in refuse(tmp_path / "bomb.pth")


class Bomb:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_pickle_with_code_is_refused_and_not_run(tmp_path, capsys, protocol):
    path = tmp_path / "bomb.pth"
    if protocol == "torch":
        torch.save({"model": narrow_state("ezvsl"), "hook": Bomb()}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Bomb()}))
    assert {"torch": "names code: print); refused", "pickle": "not a checkpoint"}[
        protocol
    ] in refuse(path)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "zeros", "tail", "flipped"])
def test_damaged_and_foreign_files_are_refused(tmp_path, damage):
    path = tmp_path / "a.pth"
    torch.save({"model": narrow_state("ezvsl")}, path)
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[: len(content) // 2],
            "empty": b"",
            "text": b"<html>quota exceeded</html>",
            "zeros": bytes(len(content)),
            "tail": content[:-200] + bytes(200),
            "flipped": content[: len(content) // 2]
            + bytes([content[len(content) // 2] ^ 1])
            + content[len(content) // 2 + 1 :],
        }[damage]
    )
    message = refuse(path)
    assert "not a checkpoint of PyTorch, or a damaged one" in message
    assert ("it is text: '<html>quota exceeded</html>'" in message) == (damage == "text")


def test_a_mapping_that_holds_itself_is_refused(tmp_path):
    content = {}
    content["model"] = content
    torch.save(content, tmp_path / "a.pth")
    assert "not a state dict" in refuse(tmp_path / "a.pth")


def test_flow_of_released_htf_is_a_picture_in_0_to_1(tmp_path):
    """Its files are JPEG, read with ToTensor."""
    torch.save({"model": narrow_state("htf_maxpool")}, tmp_path / "a.pth")
    model, _ = load_published(tmp_path / "a.pth", None, {"width": 8})
    flow = torch.tensor([-3.0, 51.2]).view(1, 2, 1, 1)
    encoded = encode_flow(flow, torch.tensor([100.0]), model.input_format)
    torch.testing.assert_close(encoded.flatten(), torch.tensor([0.0, 51 / 255]))


@pytest.mark.parametrize(
    "content", [[1, 2], {"model": {"lr": 0.1}}, {"model": {}}, 3.0, {0: torch.zeros(1)}]
)
def test_files_without_state_dict_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    message = refuse(tmp_path / "a.pth")
    assert "expected a state dict" in message or "entries that are not (plain) tensors" in message


def test_missing_file(tmp_path):
    assert refuse(tmp_path / "nowhere.pth").endswith("not found")


def test_each_method_is_recognized():
    for name, values in METHODS.items():
        found = recognize_method(narrow_state(name))
        assert found["method"] == values["method"]
        assert found.get("flow_encoder") == values.get("flow_encoder")
