"""SSPL: vectors, maps, losses and log mel equal its authors'."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from earshot.errors import DataError, ParameterError
from tests.helpers.paths import DATA, GOLDEN_DIR
from tests.helpers.training.golden_formula import fill_state_dict, generator, inputs_of, tensor
from tests.helpers.training.toy_runs import losses, run, tiny
from train.fitting.lightning_module import TrainingModule
from train.models import sspl
from train.models.registry import build_parameters, make_model
from train.networks.encoders.vggish import LogMelPatches, VggishEncoder
from train.networks.simsiam import SimSiamHead, predict_each_other
from train.runs.tensor_files import load_tensors
from train.weights import frozen_networks
from train.weights.initialization import initialize

GOLDEN = np.load(GOLDEN_DIR / "golden_recent.npz")
NARROW = {
    "map_stride": 16,
    "freeze_vision": False,
    "freeze_sound": False,
    "teacher_weights": "random",
    "sound_seconds": 1.0,
}


def assert_close(values: torch.Tensor, name: str) -> None:
    golden = GOLDEN[name]
    scale = np.ptp(golden) if golden.size > 1 else np.abs(golden).item()
    np.testing.assert_allclose(values.detach().numpy(), golden, rtol=0, atol=1e-3 * scale)


@pytest.fixture(scope="module")
def formula_model():
    """Return the network with predictive coding, with weights by formula, and these."""
    model = make_model(build_parameters({"method": "sspl", "has_predictive_coding": True}, "test"))
    published = json.loads((DATA / "recent_state_dict_keys.json").read_text())["sspl"]
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == published
    state = fill_state_dict(model.state_dict())
    model.load_state_dict(state)
    return model.eval(), state


@torch.no_grad()
def test_vectors_maps_and_losses(formula_model, monkeypatch):
    model, formula_state = formula_model

    patches = tensor(generator("logmel").standard_normal((3, 3, 1, 96, 64)))
    monkeypatch.setattr(model, "read_sound", lambda inputs: patches)
    sound, vectors = model.embed_sound(patches)
    assert_close(vectors, "sspl_audio128")
    assert_close(sound[:, :16], "sspl_audio512_first16")

    # The frames' features do not change below.
    second = tensor(generator("image2").standard_normal((3, 3, 224, 224)))
    inputs = {"frames": inputs_of("lvs")["frames"], "second_frames": second}
    features = {id(frames): model.frame(frames) for frames in inputs.values()}
    monkeypatch.setattr(model.frame, "forward", lambda frames: features[id(frames)])

    def attend():
        return model.attend(inputs["frames"], sound, vectors)

    maps, attended = attend()
    assert_close(maps, "sspl_map")
    assert_close(attended[:, :16], "sspl_fav_first16")
    assert_close(model.loss(model.embed(inputs)), "sspl_loss")

    # By the statistics of the batch.
    for part in (model.pcm, model.ssl_head):
        part.train()
    assert_close(attend()[0], "sspl_train_map")
    assert_close(model.loss(model.embed(inputs)), "sspl_train_loss")
    model.load_state_dict(formula_state)

    # Without predictive coding.
    model.eval()
    plain = build_parameters({"method": "sspl"}, "test")
    monkeypatch.setattr(model, "settings", plain)
    assert_close(attend()[0], "sspl_wo_pcm_map")
    assert_close(model.loss(model.embed(inputs)), "sspl_wo_pcm_loss")


@torch.no_grad()
def test_predictive_coding_alone(formula_model):
    coding = formula_model[0].pcm
    features = tensor(generator("visfm").uniform(0, 1, (2, 512, 14, 14)))
    sound = F.normalize(tensor(generator("audfm").uniform(0, 1, (2, 128))), dim=1)
    assert_close(coding(features, sound)[:, :8], "sspl_pcm_out8")


def test_predictive_coding_needs_levels_that_fit():
    with pytest.raises(ParameterError, match=r"image_size \(256\) must be an odd multiple of 32"):
        build_parameters({"method": "sspl", "has_predictive_coding": True, "image_size": 256}, "t")


@torch.no_grad()
def test_the_head():
    head = SimSiamHead(512)
    state = fill_state_dict({f"ssl_head.{key}": v for key, v in head.state_dict().items()})
    head.load_state_dict({key.removeprefix("ssl_head."): v for key, v in state.items()})
    views = [tensor(generator(name).standard_normal((6, 512))) for name in ("ssl_x1", "ssl_x2")]
    outputs = [head.eval()(view) for view in views]
    assert_close(outputs[0][0][:, :16], "sspl_head_z_first16")
    assert_close(outputs[0][1][:, :16], "sspl_head_p_first16")
    assert_close(predict_each_other(*outputs), "sspl_headloss_eval")
    head.train()
    assert_close(predict_each_other(*(head(view) for view in views)), "sspl_headloss_train")


def test_no_gradient_flows_into_projections():
    projections, predictions = (torch.randn(4, 8, requires_grad=True) for _ in range(2))
    predict_each_other((projections, predictions), (projections, predictions)).backward()
    assert projections.grad is None
    assert predictions.grad.abs().sum() > 0


def test_the_sound_is_the_log_mel_of_its_code():
    waveforms = torch.from_numpy(0.1 * generator("vggishwave").standard_normal(48000))[None]
    assert_close(LogMelPatches()(waveforms)[0, :, 0], "vggish_logmel")
    model = make_model(
        build_parameters(
            {"method": "sspl", "width": 8, "init": "random", **NARROW} | {"sound_seconds": 3.0},
            "test",
        )
    )
    assert_close(model.read_sound({"waveforms": waveforms})[0, :, 0], "vggish_logmel_normalized")


@pytest.mark.parametrize("has_predictive_coding", [False, True])
def test_it_trains_on_two_views(toy, tmp_path, monkeypatch, has_predictive_coding):
    seen = []
    original = TrainingModule.training_step

    def note(self, batch, batch_index):
        seen.append((batch["crop"], batch["second_crop"]))
        return original(self, batch, batch_index)

    monkeypatch.setattr(TrainingModule, "training_step", note)
    settings = {"image_size": 96, "epochs": 3, "select_on": "val", "select_by": "loss", **NARROW}
    settings["has_predictive_coding"] = has_predictive_coding
    result = run(toy, tmp_path / "run", tiny("sspl", **settings), train_ids=toy[2][:16])
    assert losses(result)[-1] < losses(result)[0]
    assert not any(torch.equal(first, second) for first, second in seen)


def test_its_head_learns_at_another_rate_and_rates_of_channels_do_not_decay():
    settings = {"has_predictive_coding": True, "image_size": 96, **NARROW}
    parameters = tiny("sspl", head_rate=4.0, optimizer="adamw", weight_decay=0.1, **settings)
    module = TrainingModule(make_model(parameters), parameters)
    groups = module.configure_optimizers().param_groups
    factors = {
        name: group["factor"]
        for name, parameter in module.model.named_parameters()
        for group in groups
        if any(parameter is member for member in group["params"])
    }
    assert set(factors) == {name for name, _ in module.model.named_parameters()}
    for name, factor in factors.items():
        assert factor == (4.0 if name.startswith("ssl_head.") else 1.0)
    decayed = {
        id(member) for group in groups if group["weight_decay"] for member in group["params"]
    }
    own = dict(module.model.named_parameters())
    assert id(own["pcm.PredProcess.0.weight"]) in decayed
    assert id(own["pcm.a0.0"]) not in decayed


def test_vggish_is_read_and_frozen(tmp_path, monkeypatch):
    # Its full width has 288 MB.
    monkeypatch.setattr(sspl, "FULL_WIDTH", 8)
    title, _ = frozen_networks._SOUND_TEACHERS["vggish"]
    narrow = (title, lambda: VggishEncoder(width=8))
    monkeypatch.setitem(frozen_networks._SOUND_TEACHERS, "vggish", narrow)
    torch.save(VggishEncoder(width=8).state_dict(), tmp_path / "vggish.pth")
    settings = {"method": "sspl", "width": 8, "init": "random", "freeze_vision": False}
    settings["teacher_weights"] = str(tmp_path / "vggish.pth")
    parameters = build_parameters(settings, "test")
    model = make_model(parameters)
    initialize(model, parameters, weights_dir=None)
    for key, values in load_tensors(tmp_path / "vggish.pth").items():
        assert torch.equal(model.sound.state_dict()[key], values)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert {name.partition(".")[0] for name in trained} == {"frame", "sound", "ssl_head"}
    assert {name for name in trained if name.startswith("sound")} == {
        f"sound.fc.{number}.{part}" for number in (0, 2) for part in ("weight", "bias")
    }

    monkeypatch.undo()
    narrow_model = make_model(parameters)
    with pytest.raises(ParameterError, match=r"width \(8\) must be 64 with the weights of VGGish"):
        narrow_model.attach_classifier(VggishEncoder(width=8))

    (tmp_path / "vggish.pth").unlink()
    with pytest.raises(DataError, match=r"no such file, expected VGGish's weights \(vggish-"):
        initialize(model, parameters, weights_dir=None)


def test_untrained_encoders_are_not_frozen():
    for settings, words in [
        ({"init": "random"}, "freeze_vision with init random"),
        ({"teacher_weights": "random"}, "freeze_sound with teacher_weights random"),
    ]:
        with pytest.raises(ParameterError, match=words):
            build_parameters({"method": "sspl", **settings}, "test")
