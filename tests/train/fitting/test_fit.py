"""Training: it learns, clips, selects honestly, and computes the same in every way."""

import json
import multiprocessing
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from earshot.errors import DataError, ParameterError, RunError
from tests.helpers.training.toy_features import write_features
from tests.helpers.training.toy_runs import CPU, TINY, losses, run, tiny
from train.data.feature_readers import open_readers
from train.fitting.devices import plan_trainer
from train.fitting.epoch_statistics import EpochStatistics
from train.fitting.fit import FitFolders, fit
from train.fitting.lightning_module import TrainingModule
from train.fitting.training_data import TrainingData
from train.inference.predictor import load_predictor, make_untrained_predictor
from train.models import ezvsl
from train.models.registry import build_parameters, make_model
from train.models.training_parameters import HardwareParameters
from train.runs.run_folder import read_run
from train.runs.tensor_files import load_tensors


@pytest.mark.parametrize("method", ["lvs", "ezvsl", "htf", "rcgrad", "flowgrad_ic", "flowgrad_en"])
def test_every_method_trains_and_loads_again(toy, tmp_path, method):
    result = run(toy, tmp_path / "run", tiny(method))
    assert np.isfinite(losses(result)).all()
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["status"], facts["selection"], facts["num_epochs"]) == ("ok", "val", 2)
    scores = [row["selection_score"] for row in facts["history"]]
    assert facts["best_epoch"] == int(np.argmax(scores))
    assert scores == [-row["val_loss"] for row in facts["history"]]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["model.ckpt", "run.json"]
    assert load_predictor(tmp_path / "run", device="cpu").parameters.method == method


def test_epochs_are_logged_by_dvclive(toy, tmp_path):
    pytest.importorskip(
        "dvclive", reason="needs DVCLive, which a machine that only trains may lack"
    )
    result = run(toy, tmp_path / "run", log_dir=tmp_path / "log")
    lines = (tmp_path / "log" / "plots" / "metrics" / "train_loss.tsv").read_text().splitlines()
    assert [float(line.split("\t")[1]) for line in lines[1:]] == pytest.approx(losses(result))


def test_trained_model_points_better_than_untrained(tmp_path):
    """EZ-VSL on the toy world: the maximum of the map falls on the blob that sounds."""
    dirs, ids, centres = write_features(tmp_path / "features", 160, sizes=((48, 48),))
    parameters = tiny(
        epochs=8,
        width=16,
        batch_size=16,
        learning_rate=2e-3,
        image_size=64,
        tau=0.1,
        schedule="cosine",
        select_on="last",
    )
    data = TrainingData(features_dirs=dirs, train_ids=ids[:120], val_ids=ids[120:])
    folders = FitFolders(run_dir=tmp_path / "run")
    fit(parameters, data, folders, hardware=CPU, is_quiet=True)
    held_out = range(120, 160)

    def pointing(predictor):
        maps = predictor.predict([ids[i] for i in held_out], open_readers(dirs, predictor.reads))
        places = np.array([np.unravel_index(one.argmax(), one.shape) for one in maps])
        places = (places + 0.5) / maps.shape[1:]
        return float((np.linalg.norm(places - centres[120:], axis=1) < 0.22).mean())

    untrained = pointing(make_untrained_predictor(parameters, device="cpu"))
    assert pointing(load_predictor(tmp_path / "run", device="cpu")) > max(0.5, untrained + 0.2)


def test_same_seed_gives_the_same_file_in_memory_or_streamed(toy, tmp_path):
    run(toy, tmp_path / "a")
    run(
        toy,
        tmp_path / "b",
        hardware=HardwareParameters(accelerator="cpu", num_threads=1, memory_limit_mb=0),
    )
    run(toy, tmp_path / "c", tiny(seed=1))
    first, second, other = ((tmp_path / name / "model.ckpt").read_bytes() for name in "abc")
    assert first == second
    assert first != other


@pytest.mark.parametrize("ends_well", [True, False])
def test_loader_processes_end_with_the_training(toy, tmp_path, ends_well):
    """The garbage collector would find them later, and wait five seconds for each of them."""
    before = set(multiprocessing.active_children())
    hardware = replace(CPU, num_workers=2, memory_limit_mb=0)
    score = 0.5 if ends_well else float("nan")
    with nullcontext() if ends_well else pytest.raises(RunError):
        run(toy, tmp_path, tiny(epochs=1), hardware, score_maps=lambda ids, maps: score)
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_gradients_are_clipped_in_any_precision(toy, tmp_path, monkeypatch, precision):
    norms = []
    before = TrainingModule.on_before_zero_grad

    def measure(self, optimizer):
        grad_norms = [p.grad.norm() for p in self.parameters() if p.grad is not None]
        norms.append(float(torch.stack(grad_norms or [torch.tensor(0.0)]).norm()))
        before(self, optimizer)

    monkeypatch.setattr(TrainingModule, "on_before_zero_grad", measure)
    hardware = HardwareParameters(accelerator="cpu", num_threads=1, precision=precision)
    for clip in (0.0, 0.01):
        norms.clear()
        run(
            toy,
            tmp_path / "run",
            tiny(epochs=1, gradient_clip=clip, spectrogram_pooling=2),
            hardware=hardware,
        )
        measured = [norm for norm in norms if norm > 0]
        assert measured
        if clip:
            np.testing.assert_allclose(measured, clip, rtol=0.01)
        else:
            assert min(measured) > 0.02


def test_early_stopping_and_plateaus(toy, tmp_path):
    scores = iter([0.5, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6])
    parameters = tiny(
        "rcgrad", epochs=20, early_stop_patience=4, schedule="plateau", plateau_patience=1
    )
    result = run(toy, tmp_path / "run", parameters, score_maps=lambda ids, maps: next(scores))
    assert result.num_epochs == 6
    assert (result.best_epoch, result.best_score) == (1, 0.7)
    rates = [row["learning_rate"] for row in result.history]
    np.testing.assert_allclose(rates, [1e-3] * 4 + [1e-4] * 2)


def test_with_select_on_last_the_validation_loss_tells_of_plateaus(toy, tmp_path, monkeypatch):
    """It used to be the number of the epoch, which always rises."""
    val_losses = iter([3.0, 2.0, 2.5, 2.5, 2.5, 2.5, 2.5])
    monkeypatch.setattr(TrainingModule, "compute_validation_loss", lambda self: next(val_losses))
    settings = {"early_stop_patience": 4, "schedule": "plateau", "plateau_patience": 1}
    parameters = tiny("ezvsl", epochs=20, select_on="last", **settings)
    result = run(toy, tmp_path / "run", parameters)
    assert (result.num_epochs, result.best_epoch) == (6, 5)
    rates = [row["learning_rate"] for row in result.history]
    np.testing.assert_allclose(rates, [1e-3] * 4 + [1e-4] * 2)

    for setting in ({"schedule": "plateau"}, {"early_stop_patience": 4}):
        with pytest.raises(ParameterError, match="compare epochs, but select_on is last"):
            run(toy, tmp_path / "b", tiny(select_on="last", **setting), val_ids=[])


def test_a_plateau_lowers_the_learning_rate_of_rcgrad_to_its_floor():
    for method, lowest in (("rcgrad", 1e-6), ("ezvsl", 1e-8)):
        parameters = tiny(method, schedule="plateau")
        module = TrainingModule(make_model(parameters), parameters)
        for _ in range(5):
            module.lower_learning_rate()
        assert module.compute_learning_rate(0) == pytest.approx(lowest)


def test_a_loss_counts_by_the_samples_of_its_batch():
    statistics = EpochStatistics()
    statistics.add(torch.tensor(4.0), {"audio": torch.eye(8)})
    statistics.add(torch.tensor(1.0), {"audio": torch.ones(2, 8)})
    assert float(statistics.compute_mean_loss()) == pytest.approx((4 * 8 + 1 * 2) / 10)
    assert float(statistics.compute_mean_spread()) == pytest.approx((7 / 8 * 8 + 0 * 2) / 10)


def test_selection_by_maps_of_the_val_or_the_test_split(toy, tmp_path):
    _, _, ids, _ = toy
    seen = []

    def score(sample_ids, maps):
        seen.append((list(sample_ids), maps.shape))
        return 0.0

    run(toy, tmp_path / "a", tiny(epochs=1), score_maps=score)
    assert seen.pop() == (ids[32:40], (8, 4, 4))
    double = HardwareParameters(accelerator="cpu", num_threads=1, precision="float64")
    result = run(toy, tmp_path / "b", tiny(epochs=1, select_on="test"), double, score_maps=score)
    assert seen.pop() == (ids[40:], (8, 4, 4))
    assert (
        result.selection
        == json.loads((tmp_path / "b" / "run.json").read_text())["selection"]
        == "test"
    )
    result = run(toy, tmp_path / "c", tiny(epochs=3, select_on="last"), val_ids=[])
    assert result.best_epoch == 2


def test_splits_that_share_a_video_are_refused(toy, tmp_path):
    _, _, ids, _ = toy
    video_of = {sample_id: f"v{number // 3}" for number, sample_id in enumerate(ids)}
    with pytest.raises(DataError, match=r"train and val splits share 1 videos \(v10\)"):
        run(toy, tmp_path / "a", video_of=video_of)
    with pytest.raises(DataError, match="train and test splits share 2 samples"):
        run(toy, tmp_path / "a", test_ids=ids[30:32])


def test_too_few_samples_and_wrong_hardware_are_named(toy, tmp_path):
    with pytest.raises(DataError, match="1 training samples are cached, expected at least 2"):
        run(toy, tmp_path, train_ids=toy[2][:1])
    with pytest.raises(ParameterError, match="the val split has no samples"):
        run(toy, tmp_path, val_ids=[])
    with pytest.raises(ParameterError, match="the test split has no samples"):
        run(toy, tmp_path, tiny(select_on="test"), test_ids=[])
    with pytest.raises(
        ParameterError,
        match=r"batch_size \(8\) must be a multiple of the number of processes \(3\)",
    ):
        run(toy, tmp_path, hardware=HardwareParameters(accelerator="cpu", devices=3))
    two = HardwareParameters(accelerator="cpu", devices=2)
    with pytest.raises(
        DataError, match="3 samples of the val split are cached, expected at least 4"
    ):
        run(toy, tmp_path, hardware=two, val_ids=toy[2][32:35])
    if not torch.cuda.is_available():
        with pytest.raises(ParameterError, match="this machine has no CUDA device"):
            run(toy, tmp_path, hardware=HardwareParameters(accelerator="cuda"))


def test_learning_rates_of_the_schedules():
    module = TrainingModule(make_model(tiny()), tiny(schedule="cosine", epochs=10, warmup_epochs=2))
    module.num_steps_per_epoch = 5
    rates = np.array([module.compute_learning_rate(step) for step in range(50)]) / 1e-3
    assert (np.diff(rates[:11]) > 0).all()
    assert rates[10] == 1
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[-1] < 0.01


def test_accumulated_batches_make_one_step_of_their_mean_gradient(toy, tmp_path, monkeypatch):
    gradients = []

    def note(self, optimizer):
        gradients.append(
            torch.cat([p.grad.flatten().clone() for p in self.parameters() if p.grad is not None])
        )

    monkeypatch.setattr(TrainingModule, "on_before_optimizer_step", note)
    # Of a learning rate next to nothing: so both steps of the plain run have the same weights.
    run(toy, tmp_path / "plain", tiny(epochs=1, learning_rate=1e-12))
    first, second, *others = gradients
    assert len(others) == 2
    gradients.clear()
    run(toy, tmp_path / "run", tiny(epochs=1, accumulate=2))
    assert len(gradients) == 2
    torch.testing.assert_close(
        gradients[0], (first + second) / 2, rtol=1e-3, atol=1e-5 * float(first.abs().max())
    )


def test_the_last_step_of_an_epoch_may_have_fewer_batches(toy, tmp_path, monkeypatch):
    """Four batches in steps of three: the schedule has two steps, each of its mean gradient."""
    gradients, rates, begun = [], [], []
    monkeypatch.setattr(ezvsl.Model, "begin_step", lambda self: begun.append(1))

    def note(self, optimizer):
        gradients.append(
            torch.cat([p.grad.flatten().clone() for p in self.parameters() if p.grad is not None])
        )
        rates.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(TrainingModule, "on_before_optimizer_step", note)
    settings = {"learning_rate": 1e-12, "schedule": "cosine"}
    run(toy, tmp_path / "plain", tiny(epochs=1, **settings))
    last_batch = gradients[-1]
    for values in (gradients, rates, begun):
        values.clear()

    run(toy, tmp_path / "run", tiny(epochs=2, accumulate=3, **settings))
    expected = 0.5e-12 * (1 + np.cos(np.pi * np.arange(4) / 4))
    np.testing.assert_allclose(rates, expected)
    atol = 1e-5 * float(last_batch.abs().max())
    torch.testing.assert_close(gradients[1], last_batch, rtol=1e-3, atol=atol)
    # What follows the weights, such as SLAVC's copies, follows once a step.
    assert len(begun) == 4


def test_random_layers_draw_from_the_seed_of_the_run(toy, tmp_path, monkeypatch):
    """Neither the caller's generator nor what was drawn before a resumed run matters."""
    embed = ezvsl.Model.embed

    def drop_some(self, inputs):
        frames = torch.nn.functional.dropout(inputs["frames"], 0.5, self.training)
        return embed(self, inputs | {"frames": frames})

    monkeypatch.setattr(ezvsl.Model, "embed", drop_some)
    for number, folder in enumerate("ab"):
        torch.manual_seed(number)
        run(toy, tmp_path / folder)
        assert torch.initial_seed() == number

    # A run that is killed in its second epoch.
    original = TrainingModule.training_step

    def interrupted(self, batch, batch_index):
        if self.trainer.global_step == 6:
            raise RuntimeError("killed")
        return original(self, batch, batch_index)

    often = HardwareParameters(accelerator="cpu", num_threads=1, checkpoint_every_seconds=0)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", interrupted)
        with pytest.raises(RuntimeError, match="killed"):
            run(toy, tmp_path / "c", hardware=often)
    run(toy, tmp_path / "c", hardware=often)

    first, *others = ((tmp_path / name / "model.ckpt").read_bytes() for name in "abc")
    assert others == [first, first]


@pytest.mark.parametrize(("width", "is_channels_last"), [(4, False), (8, True)])
def test_very_narrow_networks_are_not_in_channels_last(width, is_channels_last):
    """Kernels of torch 2.15 for some CPUs write past the end of such arrays."""
    for settings in ({"width": width}, {"width": 8, "audio_width": width}):
        assert plan_trainer(tiny(**settings), CPU).is_channels_last == is_channels_last


@pytest.mark.parametrize(("select_by", "best"), [("adaptive_ciou", 0), ("ezvsl_val", 2)])
def test_of_equal_scores_ezvsl_keeps_the_later(toy, tmp_path, select_by, best):
    scores = iter([0.5, 0.2, 0.5])
    parameters = tiny(epochs=3, select_by=select_by)
    result = run(toy, tmp_path / "run", parameters, score_maps=lambda ids, maps: next(scores))
    assert result.best_epoch == best


def test_object_guidance_takes_no_part_in_selection(toy, tmp_path):
    """Its authors choose the epoch by the audio-visual map alone; no classifier is even read."""
    shapes = []

    def score(sample_ids, maps):
        shapes.append(maps.shape)
        return 0.0

    parameters = tiny(epochs=1, object_guidance="l1", object_guidance_weights="/no/such/file")
    run(toy, tmp_path / "run", parameters, score_maps=score)
    assert shapes == [(8, 4, 4)]
    assert read_run(tmp_path / "run")["selected_by"] == "adaptive_ciou"


@pytest.mark.parametrize(
    "hardware", [{"precision": "bf16"}, {"is_deterministic": True}, {"is_channels_last": False}]
)
def test_ways_of_computing_agree(toy, tmp_path, hardware):
    usual = run(toy, tmp_path / "a", tiny("htf", epochs=1))
    other = run(
        toy,
        tmp_path / "b",
        tiny("htf", epochs=1),
        hardware=HardwareParameters(accelerator="cpu", num_threads=1, **hardware),
    )
    assert not torch.are_deterministic_algorithms_enabled()
    assert losses(other)[0] == pytest.approx(losses(usual)[0], rel=0.05)


def test_frozen_vision_keeps_its_weights_and_moves_its_statistics(toy, tmp_path):
    weights = make_model(
        build_parameters({"method": "ezvsl", **TINY, "width": 64}, "test"), seed=3
    ).imgnet.state_dict()
    torch.save(
        weights | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)},
        tmp_path / "w.pth",
    )
    parameters = tiny(
        "htf",
        width=64,
        audio_width=8,
        epochs=1,
        freeze_vision=True,
        init=str(tmp_path / "w.pth"),
        flow_encoder="maxpool",
    )
    run(toy, tmp_path / "run", parameters, train_ids=toy[2][:8])
    state = load_tensors(tmp_path / "run" / "model.ckpt")["model"]
    assert torch.equal(state["imgnet.layer4.1.conv2.weight"], weights["layer4.1.conv2.weight"])
    assert not torch.equal(state["imgnet.bn1.running_mean"], weights["bn1.running_mean"])
