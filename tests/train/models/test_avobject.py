"""AVObject: embeddings, maps, scores and sound equal its authors'; it trains on short videos."""

import pytest
import torch
import torch.nn.functional as F

from earshot.errors import DataError
from tests.helpers.training.compared_golden import (
    KEYS,
    assert_close,
    make_formula_model,
    normal,
    shapes_of,
)
from tests.helpers.training.golden_formula import generator, tensor
from tests.helpers.training.toy_runs import losses, run, tiny
from train.models.avobject import match_places, score_clips, score_shifts
from train.models.registry import build_parameters, make_model
from train.weights.published_layouts import drop_unused_keys, recognize_method


def make_inputs() -> dict[str, torch.Tensor]:
    video = generator("video").uniform(0, 255, (2, 3, 13, 112, 112))
    return {"sequences": tensor(video)}


def read_formula_sound(model, monkeypatch) -> None:
    mel = 2 * normal("avmel", 2, 80, 52)
    monkeypatch.setattr(model, "read_sound", lambda inputs, **options: mel)


@torch.no_grad()
def test_embeddings_scores_and_maps(monkeypatch):
    model = make_formula_model("avobject")
    assert shapes_of(model) == KEYS["avobject"]
    read_formula_sound(model, monkeypatch)
    inputs = make_inputs()

    visual = model.embed_video(inputs["sequences"])
    assert_close(visual[:, :16], "avobject_video_raw16")
    sound = model.embed_sound(model.read_sound(inputs))
    assert_close(sound[:, :16], "avobject_audio_raw16")
    visual = F.normalize(visual, dim=1) * model.logits_scale.weight

    # The intended cosine, and what the demo makes of it.
    for how, name in (("unit", "avobject_map"), ("signs", "avobject_map_as_coded")):
        vectors = model.normalize_sound(sound, how)
        assert_close(match_places(visual, vectors), name)
    sound = F.normalize(sound, dim=1)

    maps = match_places(visual, sound)
    log_softmax = maps.flatten(2).log_softmax(2).view_as(maps)
    assert_close(log_softmax, "avobject_logsoftmax_map")
    scores = score_clips(visual, sound)
    assert_close(scores.diagonal(), "avobject_score")
    assert_close(scores, "avobject_cross_scores")
    embeddings = {"visual": visual, "sound": sound}
    assert_close(model.loss(embeddings), "avobject_cross_loss")

    assert_close(score_shifts(visual, sound, max_shift=2), "avobject_sync_scores")
    shifted = make_model(build_parameters({"method": "avobject", "width": 8, **SHIFTS}, "test"))
    assert_close(shifted.loss(embeddings), "avobject_sync_loss")


SHIFTS = {"contrast_with": "shifts", "max_shift": 2}


@torch.no_grad()
def test_the_map_is_that_of_the_middle_frame(monkeypatch):
    model = make_model(build_parameters({"method": "avobject", "width": 8}, "test")).eval()
    inputs = {"sequences": 255 * torch.rand(2, 3, 9, 64, 64), "waveforms": torch.randn(2, 8000)}
    embeddings = model.embed(inputs)
    maps = match_places(embeddings["visual"], embeddings["sound"])
    assert maps.shape == (2, 5, 5, 5)  # cells lie 16 pixels apart, from edge to edge
    assert torch.equal(model.localize(inputs), maps[:, 2])


@torch.no_grad()
def test_the_sound_is_the_mel_of_its_code():
    model = make_model(build_parameters({"method": "avobject", "width": 8}, "test"))
    waveforms = 3000 / 32768 * normal("avwave", 1, 8320)
    mel = model.read_sound({"waveforms": waveforms}, num_frames=13)
    assert mel.shape == (1, 80, 52)
    assert_close(mel[0].T, "avobject_mel")


def test_released_weights_also_separate_speech():
    model = make_model(build_parameters({"method": "avobject", "width": 8}, "test"))
    state = model.state_dict() | {
        "sepnet.conv1.weight": torch.zeros(2),
        "phasenet.x": torch.ones(1),
    }
    assert recognize_method(state) == {"method": "avobject"}
    assert set(drop_unused_keys(state, model.state_dict(), "avobject")) == set(model.state_dict())


@pytest.mark.parametrize("contrast_with", ["clips", "both"])
def test_it_trains_on_short_videos(toy, tmp_path, contrast_with):
    settings = {"contrast_with": contrast_with, "map_stride": 16, "max_shift": 1, "epochs": 5}
    result = run(
        toy,
        tmp_path / "run",
        tiny("avobject", learning_rate=3e-3, **settings),
        train_ids=toy[2][:16],
    )
    assert min(losses(result)[2:]) < losses(result)[0]


def test_a_sequence_must_be_long_enough():
    visual, sound = torch.zeros(2, 8, 5, 3, 3), torch.zeros(2, 8, 5)
    with pytest.raises(DataError, match="have 9 frames, but a max_shift of 3 needs 11"):
        score_shifts(visual, sound, max_shift=3)
