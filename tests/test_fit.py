"""Training: it learns, survives SIGKILL exactly, agrees over processes, selects honestly and stops when it must."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_features import write_features

from pipeline.errors import DataError, ParameterError, RunError
from train.data import open_readers
from train.dataset_splits import ids_in_split, videos_of_samples
from train.disjoint_splits import require_disjoint
from train.fit import fit
from train.models import build_parameters, make_model
from train.module import TrainingModule
from train.parameters import HardwareParameters
from train.predict import load_predictor, untrained_predictor
from train.run_files import load_tensors

SCRIPT = Path(__file__).with_name("training_script.py")
TINY = {
    "width": 8,
    "image_size": 32,
    "map_stride": 8,
    "batch_size": 8,
    "epochs": 2,
    "init": "random",
    "learning_rate": 1e-3,
    "spectrogram_pooling": 8,
    "spectrogram_mean": -6.0,
    "spectrogram_std": 2.0,
}
CPU = HardwareParameters(accelerator="cpu", num_threads=1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    dirs, ids, centres = write_features(folder, 48)
    return folder, dirs, ids, centres


def tiny(method="ezvsl", **settings):
    if method == "htf":
        settings = {"freeze_vision": False, "flow_scale": 0.2, **settings}
    return build_parameters({"method": method, **TINY, **settings}, "test")


def run(toy, run_dir, parameters=None, hardware=CPU, **options):
    _, dirs, ids, _ = toy
    options = {"train_ids": ids[:32], "val_ids": ids[32:40], "test_ids": ids[40:], **options}
    return fit(parameters or tiny(), features_dirs=dirs, run_dir=run_dir, hardware=hardware, is_quiet=True, **options)


def losses(result):
    return [row["train_loss"] for row in result.history]


@pytest.mark.parametrize("method", ["lvs", "ezvsl", "htf", "rcgrad", "flowgrad_ic", "flowgrad_en"])
def test_every_method_trains_logs_and_loads_again(toy, tmp_path, method):
    result = run(toy, tmp_path / "run", tiny(method), log_dir=tmp_path / "log")
    assert np.isfinite(losses(result)).all()
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["status"], facts["selection"], facts["num_epochs"]) == ("ok", "val", 2)
    scores = [row["selection_score"] for row in facts["history"]]
    assert facts["best_epoch"] == int(np.argmax(scores))
    assert scores == [-row["val_loss"] for row in facts["history"]]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["model.ckpt", "run.json"]
    lines = (tmp_path / "log" / "plots" / "metrics" / "train_loss.tsv").read_text().splitlines()
    assert len(lines) == 3
    assert load_predictor(tmp_path / "run", device="cpu").parameters.method == method


def test_trained_model_points_better_than_untrained(tmp_path):
    """EZ-VSL on the toy world: the maximum of the map falls on the blob that sounds."""
    dirs, ids, centres = write_features(tmp_path / "features", 160, sizes=((48, 48),))
    parameters = tiny(
        epochs=12,
        width=16,
        batch_size=16,
        learning_rate=2e-3,
        image_size=64,
        tau=0.1,
        schedule="cosine",
        select_on="last",
    )
    fit(
        parameters,
        features_dirs=dirs,
        train_ids=ids[:120],
        val_ids=ids[120:],
        run_dir=tmp_path / "run",
        hardware=CPU,
        is_quiet=True,
    )
    held_out = range(120, 160)

    def pointing(predictor):
        maps = predictor.predict([ids[i] for i in held_out], open_readers(dirs, predictor.reads))
        places = np.array([np.unravel_index(one.argmax(), one.shape) for one in maps])
        places = (places + 0.5) / maps.shape[1:]
        return float((np.linalg.norm(places - centres[120:], axis=1) < 0.22).mean())

    untrained = pointing(untrained_predictor(parameters, device="cpu"))
    assert pointing(load_predictor(tmp_path / "run", device="cpu")) > max(0.5, untrained + 0.2)


def test_same_seed_gives_the_same_file_in_memory_or_streamed(toy, tmp_path):
    run(toy, tmp_path / "a")
    run(toy, tmp_path / "b", hardware=HardwareParameters(accelerator="cpu", num_threads=1, memory_limit_mb=0))
    run(toy, tmp_path / "c", tiny(seed=1))
    first, second, other = ((tmp_path / name / "model.ckpt").read_bytes() for name in "abc")
    assert first == second
    assert first != other


def start_script(folder, **options):
    options = {"parameters": {"method": "ezvsl", **TINY}, "num_samples": 48, **options}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), json.dumps(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def step_losses(output):
    """{step: loss} of the lines that a script printed; processes may print without a line break between them."""
    words = output.replace("STEP", " STEP ").split()
    return {int(words[i + 1]): float(words[i + 2]) for i, word in enumerate(words) if word == "STEP"}


def test_a_killed_run_goes_on_exactly(toy, tmp_path):
    folder, *_ = toy
    hardware = {"checkpoint_every_seconds": 0}
    parameters = {"method": "ezvsl", **TINY, "epochs": 3}
    whole = start_script(folder, run="whole", parameters=parameters)
    killed = start_script(folder, run="killed", parameters=parameters, hardware=hardware, seconds_a_step=0.2)
    printed = ""
    for line in killed.stdout:
        printed += line
        if line.startswith("STEP 6 "):  # in the middle of the second epoch of four steps
            killed.send_signal(signal.SIGKILL)
            break
    killed.communicate()
    expected, _ = whole.communicate()
    assert (folder / "killed" / "state.ckpt").exists()
    assert not (folder / "killed" / "model.ckpt").exists()
    resumed = start_script(folder, run="killed", parameters=parameters, hardware=hardware, noise=9)
    output, log = resumed.communicate()
    assert "going on from" in log
    steps = step_losses(output)
    assert 5 <= min(steps) <= 7
    assert step_losses(printed) | steps == step_losses(expected)
    assert (folder / "killed" / "model.ckpt").read_bytes() == (folder / "whole" / "model.ckpt").read_bytes()
    for name in ("train_loss", "val_loss"):
        metric = Path("log", "plots", "metrics", f"{name}.tsv")
        assert (folder / "killed" / metric).read_text() == (folder / "whole" / metric).read_text()
    assert not (folder / "killed" / "state.ckpt").exists()


def test_a_killed_run_of_two_processes_goes_on_exactly(toy):
    """Killed together in the second epoch, whose steps are then taken again from the state at the end of the first."""
    folder, *_ = toy
    hardware = {"devices": 2, "checkpoint_every_seconds": 0}
    parameters = {"method": "ezvsl", **TINY, "epochs": 2}
    killed = start_script(folder, run="two_killed", parameters=parameters, hardware=hardware, seconds_a_step=0.2)
    printed = ""
    for line in killed.stdout:
        printed += line
        if "STEP 6 " in line:
            os.killpg(killed.pid, signal.SIGKILL)
            break
    killed.communicate()
    assert (folder / "two_killed" / "state.ckpt").exists()
    resumed = start_script(folder, run="two_killed", parameters=parameters, hardware=hardware, noise=9)
    output, log = resumed.communicate()
    assert resumed.returncode == 0, log[-2000:]
    assert "going on from" in log
    before, after = step_losses(printed), step_losses(output)
    assert (min(after), max(after)) == (5, 8)
    assert {5, 6} <= set(before)
    assert [after[step] for step in (5, 6)] == [before[step] for step in (5, 6)]


@pytest.mark.parametrize("method", ["htf"])
def test_two_processes_equal_one_with_the_same_global_batch(toy, method):
    """In double precision to the last printed digit; in single, rounding would grow with every step. Of the 11 samples
    of validation the last batch has three.
    """
    folder, *_ = toy
    settings = {"parameters": {"method": method, **TINY, "freeze_vision": False}, "num_samples": 44}
    one = start_script(folder, run="one", hardware={"precision": "float64"}, **settings)
    two = start_script(folder, run="two", hardware={"precision": "float64", "devices": 2}, **settings)
    expected, found = one.communicate()[0], two.communicate()
    assert two.returncode == 0, found[1][-2000:]
    assert len(step_losses(expected)) == 2 * (33 // 8)
    assert step_losses(found[0]) == pytest.approx(step_losses(expected), abs=2e-8)
    val_losses = [
        [row["val_loss"] for row in json.loads((folder / name / "run.json").read_text())["history"]]
        for name in ("one", "two")
    ]
    assert val_losses[1] == pytest.approx(val_losses[0], abs=1e-7)


def test_state_of_other_parameters_is_not_continued(toy, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    torch.save({"callbacks": {"Keeper": {"fingerprint": "other"}}}, tmp_path / "run" / "state.ckpt")
    run(toy, tmp_path / "run")
    assert "starting anew" in capsys.readouterr().err


def test_state_of_other_features_is_not_continued(toy, tmp_path, monkeypatch, capsys):
    """``state_key`` stands for the cached features: a run that was killed must not go on with other data."""
    original = TrainingModule.training_step

    def interrupted(self, batch, batch_index):
        if self.trainer.global_step == 6:
            raise RuntimeError("killed")
        return original(self, batch, batch_index)

    hardware = HardwareParameters(accelerator="cpu", num_threads=1, checkpoint_every_seconds=0)
    monkeypatch.setattr(TrainingModule, "training_step", interrupted)
    for key, words in (("a", ""), ("b", "starting anew"), ("b", "going on from")):
        with pytest.raises(RuntimeError, match="killed"):
            run(toy, tmp_path / "run", hardware=hardware, state_key=key)
        assert words in capsys.readouterr().err
    monkeypatch.undo()
    run(toy, tmp_path / "run", hardware=hardware, state_key="b")
    assert "going on from" in capsys.readouterr().err


def test_nan_stops_the_run_and_keeps_the_best_epoch(toy, tmp_path, monkeypatch):
    original = TrainingModule._loss

    def poisoned(self, batch):
        loss, embeddings = original(self, batch)
        return (loss * float("nan") if self.trainer.global_step >= 6 and self.training else loss), embeddings

    monkeypatch.setattr(TrainingModule, "_loss", poisoned)
    with pytest.raises(RunError, match=r"ezvsl: the training loss is not finite .* at epoch 1, step 7; stopped"):
        run(toy, tmp_path / "run", tiny(epochs=5))
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["status"], facts["best_epoch"]) == ("stopped", 0)
    assert "not finite" in facts["reason"]
    state = load_tensors(tmp_path / "run" / "model.ckpt")["model"]
    assert all(values.isfinite().all() for values in state.values())


def test_weights_spoiled_by_the_last_step_of_an_epoch_are_never_kept(toy, tmp_path, monkeypatch):
    """No loss tells of them before the next epoch, and ``last`` would keep whatever there is."""
    step = TrainingModule.optimizer_step

    def spoiling_step(self, epoch, *arguments, **options):
        step(self, epoch, *arguments, **options)
        if self.trainer.global_step == 7:  # counted only afterwards
            self.model.img_proj.bias.data[0] = float("nan")

    monkeypatch.setattr(TrainingModule, "optimizer_step", spoiling_step)
    with pytest.raises(RunError, match=r"ezvsl: weights are not finite .* at the end of epoch 1, first img_proj.bias;"):
        run(toy, tmp_path / "run", tiny(epochs=2, select_on="last"))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["best_epoch"] == 0
    state = load_tensors(tmp_path / "run" / "model.ckpt")["model"]
    assert all(values.isfinite().all() for values in state.values())


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_gradients_are_clipped_in_any_precision(toy, tmp_path, monkeypatch, precision):
    norms = []
    before = TrainingModule.on_before_zero_grad

    def measure(self, optimizer):
        norms.append(float(torch.stack([p.grad.norm() for p in self.parameters() if p.grad is not None] or
                                       [torch.tensor(0.0)]).norm()))  # fmt: skip
        before(self, optimizer)

    monkeypatch.setattr(TrainingModule, "on_before_zero_grad", measure)
    hardware = HardwareParameters(accelerator="cpu", num_threads=1, precision=precision)
    for clip in (0.0, 0.01):
        norms.clear()
        run(toy, tmp_path / "run", tiny(epochs=1, gradient_clip=clip, spectrogram_pooling=2), hardware=hardware)
        measured = [norm for norm in norms if norm > 0]
        assert measured
        if clip:
            np.testing.assert_allclose(measured, clip, rtol=0.01)
        else:
            assert min(measured) > 0.02


def test_a_selection_score_that_is_not_a_number_stops_the_run(toy, tmp_path):
    scores = iter([0.5, float("nan")])
    with pytest.raises(RunError, match=r"ezvsl: the selection score is not finite \(nan\) at epoch 1; stopped"):
        run(toy, tmp_path / "run", tiny(epochs=5), score_maps=lambda ids, maps: next(scores))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["best_epoch"] == 0
    assert (tmp_path / "run" / "model.ckpt").exists()


def test_embeddings_that_collapse_stop_the_run(toy, tmp_path, monkeypatch):
    original = TrainingModule._loss

    def collapsed(self, batch):
        loss, embeddings = original(self, batch)
        return loss, embeddings | {"audio": torch.ones_like(embeddings["audio"])}

    monkeypatch.setattr(TrainingModule, "_loss", collapsed)
    with pytest.raises(RunError, match="collapsed at epoch 2: for 3 epochs every sound has had the same embedding"):
        run(toy, tmp_path / "run", tiny(epochs=9))
    assert (tmp_path / "run" / "model.ckpt").exists()


def test_a_loss_that_stands_still_stops_the_run(toy, tmp_path):
    with pytest.raises(RunError, match=r"the training loss has been .* for 4 epochs, nothing is learned"):
        run(toy, tmp_path / "run", tiny(epochs=9, optimizer="sgd", learning_rate=1e-30, has_flip=False,
                                        has_random_crop=False, is_shuffled=False))  # fmt: skip


def test_early_stopping_and_plateaus(toy, tmp_path):
    scores = iter([0.5, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6])
    parameters = tiny("rcgrad", epochs=20, early_stop_patience=4, schedule="plateau", plateau_patience=1)
    result = run(toy, tmp_path / "run", parameters, score_maps=lambda ids, maps: next(scores))
    assert result.num_epochs == 6
    assert (result.best_epoch, result.best_score) == (1, 0.7)
    rates = [row["learning_rate"] for row in result.history]
    np.testing.assert_allclose(rates, [1e-3] * 4 + [1e-4] * 2)


def test_selection_by_maps_of_the_val_or_the_test_split(toy, tmp_path):
    _, _, ids, _ = toy
    seen = []

    def score(sample_ids, maps):
        seen.append((list(sample_ids), maps.shape))
        return 0.0

    run(toy, tmp_path / "a", tiny(epochs=1), score_maps=score)
    assert seen.pop() == (ids[32:40], (8, 4, 4))
    result = run(toy, tmp_path / "b", tiny(epochs=1, select_on="test"), score_maps=score)
    assert seen.pop() == (ids[40:], (8, 4, 4))
    assert result.selection == json.loads((tmp_path / "b" / "run.json").read_text())["selection"] == "test"
    result = run(toy, tmp_path / "c", tiny(epochs=3, select_on="last"), val_ids=[])
    assert result.best_epoch == 2


def test_splits_that_share_a_video_are_refused(toy, tmp_path):
    _, _, ids, _ = toy
    video_of = {sample_id: f"v{number // 3}" for number, sample_id in enumerate(ids)}
    with pytest.raises(DataError, match=r"train and val splits share 1 videos \(v10\)"):
        run(toy, tmp_path / "a", video_of=video_of)
    with pytest.raises(DataError, match="train and test splits share 2 samples"):
        run(toy, tmp_path / "a", test_ids=ids[30:32])
    with pytest.raises(DataError, match="has no video id"):
        require_disjoint({"train": ["a"], "val": []}, video_of={})
    require_disjoint({"train": ["a"], "val": ["a"], "test": ["b"]}, video_of=None, selection="test")


def test_ids_and_videos_come_from_the_tables():
    import pyarrow as pa

    samples = pa.table({"sample_id": ["a", "b"], "clip_id": ["c", "d"], "splits": [["train"], ["train", "val"]]})
    clips = pa.table({"clip_id": ["c", "d"], "video_id": ["v", "w"]})
    assert ids_in_split(samples, "val") == ["b"]
    assert videos_of_samples(samples, clips) == {"a": "v", "b": "w"}


def test_too_few_samples_and_wrong_hardware_are_named(toy, tmp_path):
    with pytest.raises(DataError, match="1 training samples are cached, expected at least 2"):
        run(toy, tmp_path, train_ids=toy[2][:1])
    with pytest.raises(ParameterError, match="the val split has no samples"):
        run(toy, tmp_path, val_ids=[])
    with pytest.raises(ParameterError, match="the test split has no samples"):
        run(toy, tmp_path, tiny(select_on="test"), test_ids=[])
    with pytest.raises(ParameterError, match=r"batch_size \(8\) must be a multiple of the number of processes \(3\)"):
        run(toy, tmp_path, hardware=HardwareParameters(accelerator="cpu", devices=3))
    two = HardwareParameters(accelerator="cpu", devices=2)
    with pytest.raises(DataError, match="3 samples of the val split are cached, expected at least 4"):
        run(toy, tmp_path, hardware=two, val_ids=toy[2][32:35])
    if not torch.cuda.is_available():
        with pytest.raises(ParameterError, match="this machine has no CUDA device"):
            run(toy, tmp_path, hardware=HardwareParameters(accelerator="cuda"))


def test_learning_rates_of_the_schedules():
    module = TrainingModule(make_model(tiny()), tiny(schedule="cosine", epochs=10, warmup_epochs=2))
    module.num_steps_an_epoch = 5
    rates = np.array([module.learning_rate_at(step) for step in range(50)]) / 1e-3
    assert (np.diff(rates[:11]) > 0).all()
    assert rates[10] == 1
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[-1] < 0.01


def test_accumulation_makes_fewer_steps_of_the_same_gradient(toy, tmp_path):
    result = run(toy, tmp_path / "run", tiny(accumulate=2, epochs=1))
    plain = run(toy, tmp_path / "plain", tiny(epochs=1, learning_rate=1e-12))
    assert np.isfinite(losses(result)).all()
    assert losses(result)[0] != losses(plain)[0]


@pytest.mark.parametrize("hardware", [{"precision": "bf16"}, {"is_deterministic": True}, {"is_channels_last": False}])
def test_ways_of_computing_agree(toy, tmp_path, hardware):
    usual = run(toy, tmp_path / "a", tiny("htf", epochs=1))
    other = run(toy, tmp_path / "b", tiny("htf", epochs=1),
                hardware=HardwareParameters(accelerator="cpu", num_threads=1, **hardware))  # fmt: skip
    assert not torch.are_deterministic_algorithms_enabled()
    assert losses(other)[0] == pytest.approx(losses(usual)[0], rel=0.05)


def test_frozen_vision_keeps_its_weights_and_moves_its_statistics(toy, tmp_path):
    weights = make_model(build_parameters({"method": "ezvsl", **TINY, "width": 64}, "test"), seed=3).imgnet.state_dict()
    torch.save(weights | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, tmp_path / "w.pth")
    parameters = tiny("htf", width=64, audio_width=8, epochs=1, freeze_vision=True, init=str(tmp_path / "w.pth"),
                      flow_encoder="maxpool")  # fmt: skip
    run(toy, tmp_path / "run", parameters, train_ids=toy[2][:8])
    state = load_tensors(tmp_path / "run" / "model.ckpt")["model"]
    assert torch.equal(state["imgnet.layer4.1.conv2.weight"], weights["layer4.1.conv2.weight"])
    assert not torch.equal(state["imgnet.bn1.running_mean"], weights["bn1.running_mean"])
