"""CoarseToFine: losses, parts, maps and sound equal its authors'; both stages train."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from earshot.errors import DataError, ParameterError
from tests.helpers.training.compared_golden import (
    KEYS,
    assert_close,
    make_formula_model,
    normal,
    shapes_of,
    uniform,
)
from tests.helpers.training.toy_runs import losses, run, tiny
from train.models.registry import build_parameters, make_model
from train.networks.category_labels import label_pictures
from train.networks.encoders.image_encoder import ResNetEncoder
from train.networks.part_alignment import align_parts
from train.networks.sound_categories import group_imagenet_classes
from train.runs.tensor_files import load_tensors
from train.weights.initialization import hash_first_weights, initialize

STAGE_2 = {"stage": 2, "init": "a run"}


def soften(state: dict[str, torch.Tensor]) -> None:
    """Keep probabilities away from 0 and 1."""
    for key, power in (("class_a.weight", 6), ("class_v.weight", 6), ("avc.2.weight", 5)):
        state[key] *= 2**-power


def make_inputs() -> dict[str, torch.Tensor]:
    labels = torch.cat([uniform("labela", 3, 7), uniform("labelv", 3, 7)], 1)
    return {"frames": normal("image256", 3, 3, 256, 256), "labels": labels}


def read_formula_sound(model, monkeypatch) -> None:
    sound = normal("logmel251", 3, 1, 251, 64)
    monkeypatch.setattr(model, "read_sound", lambda inputs, **options: sound)


@torch.no_grad()
def test_both_stages(monkeypatch):
    model = make_formula_model("coarsetofine", change=soften, **STAGE_2)
    assert shapes_of(model) == KEYS["coarsetofine"]
    read_formula_sound(model, monkeypatch)
    inputs = make_inputs()
    embeddings = model.embed(inputs)

    # Stage 1 has the same tensors but for the projections.
    pairs = model.compare_pairs(embeddings["audio"], embeddings["visual"])
    assert_close(pairs, "c2f_stage1_avc")
    assert_close(embeddings["sound_classes"], "c2f_stage1_cls_a")
    assert_close(embeddings["picture_classes"], "c2f_stage1_cls_v")
    terms = model.measure_losses(embeddings)
    assert_close(terms[:3], "c2f_stage1_losses")

    assert_close(embeddings["sound_parts"].mT[:, :16], "c2f_stage2_fine_a16")
    assert_close(embeddings["picture_parts"].mT[:, :16], "c2f_stage2_fine_v16")
    assert_close(terms[3:], "c2f_stage2_distance_losses")

    sound, picture = model.audio(model.read_sound(inputs)), model.vision(inputs["frames"])
    assert_close(model.name_sounds(sound), "c2f_test_probability")
    assert_close(model.localize_categories(sound, picture), "c2f_class_maps")
    # The authors enlarge the map, and divide it by its maximum.
    maps = F.interpolate(model.localize(inputs)[:, None], size=(256, 256), mode="bilinear")[:, 0]
    maps = maps / maps.amax((1, 2), keepdim=True)
    assert_close(maps[:, ::4, ::4], "c2f_map_every4")


def test_stage_1_has_no_projections():
    state = make_model(build_parameters({"method": "coarsetofine"}, "test")).state_dict()
    expected = {key for key in KEYS["coarsetofine"] if not key.startswith("project_")}
    assert set(state) == expected


def test_distances_of_parts():
    common = normal("finec", 1, 128, 1)
    sounds = normal("finea", 3, 128, 7)
    pictures = sounds + normal("finev", 3, 128, 7)
    parts = [F.normalize(part + common, dim=1).mT for part in (sounds, pictures)]
    seen = [normal(name, 3, 7).sigmoid() > 0.3 for name in ("logita", "logitv")]
    assert_close(torch.stack(align_parts(*parts, *seen, margin=1.4)), "c2f_lossfn_distance")


def test_equal_parts_have_a_gradient():
    parts = F.normalize(torch.ones(2, 7, 16), dim=2).requires_grad_()
    is_there = torch.ones(2, 7, dtype=torch.bool)
    sum(align_parts(parts, parts * 1, is_there, is_there, margin=1.4)).backward()
    assert parts.grad.isfinite().all()


def test_the_sound_is_the_mel_of_its_code():
    model = make_model(build_parameters({"method": "coarsetofine", "width": 8}, "test"))
    waveforms = 0.1 * normal("wave22050_5s", 110250)[None]
    sound = model.read_sound({"waveforms": waveforms})
    assert sound.shape == (1, 1, 251, 64)
    assert_close(sound[0, 0], "c2f_logmel")
    # At test a louder recording sounds the same.
    quiet, loud = (
        model.read_sound({"waveforms": factor * waveforms}, is_normalized=True) for factor in (1, 3)
    )
    torch.testing.assert_close(quiet, loud, atol=1e-3, rtol=0)


def test_pictures_are_labelled_by_their_ten_best_classes(shared):
    groups = np.load(shared("golden", "coarsetofine_groups.npz"))["imagenet"]
    probabilities = (3 * normal("imagenetlogits", 3, 1000)).softmax(1)
    assert_close(label_pictures(probabilities, torch.from_numpy(groups)), "c2f_label_v")
    # Our grouping of the classes agrees with the authors' on four classes of five.
    assert (group_imagenet_classes().argmax(1).numpy() == groups.argmax(1)).mean() > 0.75


def write_labels(path, ids) -> str:
    generator = np.random.default_rng(0)
    sides = {side: generator.uniform(size=(len(ids), 7)) for side in ("sound", "picture")}
    np.savez(path, sample_ids=np.array(ids), **sides)
    return str(path)


def test_stage_2_begins_with_the_weights_of_stage_1(toy, tmp_path):
    labels = write_labels(tmp_path / "labels.npz", toy[2])
    settings = {"sound_seconds": 0.2, "labels": labels, "map_stride": 16, "batch_size": 16}
    parameters = tiny("coarsetofine", **settings)
    assert losses(run(toy, tmp_path / "coarse", parameters))[1] < 3

    settings |= {"stage": 2, "init": str(tmp_path / "coarse"), "learning_rate": 1e-4}
    parameters = tiny("coarsetofine", **settings)
    model = make_model(parameters)
    initialize(model, parameters, weights_dir=None)
    coarse = load_tensors(tmp_path / "coarse" / "model.ckpt")["model"]
    assert all(torch.equal(model.state_dict()[key], coarse[key]) for key in coarse)

    # The labels decide the weights, too.
    before = hash_first_weights(parameters)
    write_labels(tmp_path / "labels.npz", toy[2][::-1])
    assert hash_first_weights(parameters) != before

    result = run(toy, tmp_path / "fine", parameters)
    assert np.isfinite(losses(result)).all()
    assert "project_a.0.weight" in load_tensors(tmp_path / "fine" / "model.ckpt")["model"]

    write_labels(tmp_path / "labels.npz", toy[2][1:])
    with pytest.raises(DataError, match="lacks 1 of 32 samples, first toy0_0000"):
        run(toy, tmp_path / "fine", parameters)
    write_labels(tmp_path / "labels.npz", [*toy[2], toy[2][3]])
    with pytest.raises(DataError, match="sample toy0_0003 has two rows, expected one"):
        run(toy, tmp_path / "fine", parameters)


def test_frames_give_the_labels_unless_a_file_does():
    model = make_model(build_parameters({"method": "coarsetofine", "width": 8}, "test"))
    assert model.needed_classifier.is_needed_in_training
    inputs = {"frames": torch.randn(2, 3, 64, 64), "waveforms": torch.randn(2, 4000)}
    # Without labels, as where it finds neighbours for another method, it has features all the same.
    assert {"audio", "visual"} <= set(model.embed(inputs))
    model.attach_classifier(ResNetEncoder("resnet18", width=8, has_head=True))
    embeddings = model.embed(inputs)
    assert torch.equal(embeddings["sound_labels"], embeddings["picture_labels"])
    assert (embeddings["sound_labels"].amax(1) == 1).all()
    assert not [key for key in model.state_dict() if "labeller" in key]


def test_stage_2_needs_a_run():
    with pytest.raises(ParameterError, match="must be the folder of a run of stage 1"):
        build_parameters({"method": "coarsetofine", "stage": 2}, "test")
