"""Check what runs on a GPU.

It gives the same maps and batches as a CPU, trains in every way of computing, and nothing waits.
What can be checked without one (how many loader processes, the name of the device) is checked
everywhere.
"""

import json
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.helpers.paths import TRAINING_SCRIPT
from tests.helpers.training.batch_checks import FORMAT, READS, assert_equal_inputs
from tests.helpers.training.golden_formula import METHODS, inputs_of, make_formula_model
from tests.helpers.training.toy_runs import TINY, losses, run, tiny
from train.data.augmentation import prepare_inputs
from train.data.device_copies import move_to
from train.data.feature_readers import open_readers
from train.data.loader import BatchLoader
from train.data.random_crops import RandomCrops
from train.data.sample_source import SampleSource
from train.fitting import devices, epoch_end
from train.fitting.devices import count_workers, describe_device, plan_trainer
from train.fitting.fit import FitFolders, fit
from train.fitting.lightning_module import TrainingModule
from train.fitting.training_data import TrainingData
from train.inference.predictor import load_predictor
from train.models.registry import make_model
from train.models.training_parameters import HardwareParameters
from train.networks.gradcam import grad_cam
from train.runs.run_folder import read_run

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device, this machine has none"
)
needs_two_gpus = pytest.mark.skipif(
    torch.cuda.device_count() < 2,
    reason=f"needs two CUDA devices, this machine has {torch.cuda.device_count()}",
)
GPU = torch.device("cuda", 0)


def hardware(**options):
    return HardwareParameters(
        **{"accelerator": "cuda", "devices": 1, "precision": "float32", **options}
    )


# --- without a GPU: what is planned for one


def test_loader_processes_do_not_outnumber_the_cores(monkeypatch):
    monkeypatch.setattr(
        devices.os, "sched_getaffinity", lambda process: set(range(16)), raising=False
    )
    assert count_workers(HardwareParameters(devices=1), is_cuda=True) == 8
    assert count_workers(HardwareParameters(devices=4), is_cuda=True) == 4
    assert count_workers(HardwareParameters(devices=32), is_cuda=True) == 1
    assert count_workers(HardwareParameters(devices=4, num_workers=3), is_cuda=True) == 3
    assert count_workers(HardwareParameters(), is_cuda=False) == 0


def test_a_gpu_is_planned_with_bf16_and_several_with_ddp(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    # Several machines need somebody who says which one this is.
    for name, value in {"NODE_RANK": "0", "MASTER_ADDR": "h", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    plan = plan_trainer(tiny(), HardwareParameters(num_nodes=2))
    options = plan.options
    assert (options["accelerator"], options["precision"], options["strategy"]) == (
        "cuda",
        "bf16-mixed",
        "ddp",
    )
    assert (options["devices"], options["num_nodes"]) == (4, 2)
    assert (plan.is_cuda, plan.num_processes) == (True, 8)

    plan = plan_trainer(tiny(), HardwareParameters(accelerator="cpu"))
    options = plan.options
    assert (options["accelerator"], options["precision"], options["strategy"]) == (
        "cpu",
        "32-true",
        "auto",
    )
    assert (plan.is_cuda, plan.num_processes) == (False, 1)


def test_the_device_of_a_run_is_named(toy, tmp_path, monkeypatch):
    run(toy, tmp_path / "run", tiny(epochs=1))
    assert read_run(tmp_path / "run")["device"] == "cpu"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA X {device.index}")
    assert describe_device(torch.device("cuda", 1)) == "NVIDIA X 1"


def test_throughput_does_not_count_validation(toy, tmp_path, monkeypatch):
    original, late = TrainingModule.validation_step, []

    def slow(self, batch, batch_index):
        late.append(1000)
        return original(self, batch, batch_index)

    monkeypatch.setattr(TrainingModule, "validation_step", slow)
    monkeypatch.setattr(
        epoch_end, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + sum(late))
    )
    result = run(toy, tmp_path / "run", tiny(epochs=1))
    assert late
    assert result.history[0]["samples_per_second"] > 32 / 1000


# --- on a GPU


@pytest.mark.gpu
@needs_gpu
@torch.no_grad()
@pytest.mark.parametrize("name", METHODS)
def test_maps_on_a_gpu_are_those_of_a_cpu(name, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    settings = {"uses_batch_statistics": True} if "waveforms" in inputs_of(name) else {}
    model, inputs = make_formula_model(name, **settings), inputs_of(name)
    expected = model.localize(inputs)
    found = model.to(GPU).localize(move_to(inputs, GPU)).cpu()
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.gpu
@needs_gpu
def test_batched_grad_cam_on_a_gpu_is_the_one_by_one_result():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 16, 14, 14, generator=generator).to(GPU)
    vectors = torch.randn(5, 16, generator=generator).to(GPU)
    together = grad_cam(features, vectors, size=(224, 224))
    alone = torch.cat(
        [grad_cam(features[i : i + 1], vectors[i : i + 1], size=(224, 224)) for i in range(5)]
    )
    torch.testing.assert_close(together, alone)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("where", ["streamed", "workers", "memory"])
def test_batches_on_a_gpu_are_those_of_a_cpu(toy, where):
    _, dirs, ids, _ = toy
    options = {"batch_size": 8, "shuffle_seed": 1}

    def make_source():
        return SampleSource(
            ids, open_readers(dirs, READS), input_format=FORMAT, crops=RandomCrops()
        )

    source = make_source()
    if where == "memory":
        source.load_into_memory(device=GPU)
    num_workers = 2 if where == "workers" else 0
    found = list(BatchLoader(source, num_workers=num_workers, device=GPU, **options))
    expected = list(BatchLoader(make_source(), **options))
    assert len(found) == len(expected) == 6
    for first, second in zip(found, expected, strict=True):
        # the arithmetic of the CPU, on what the GPU was given
        assert_equal_inputs(
            prepare_inputs(move_to(first, torch.device("cpu")), FORMAT),
            prepare_inputs(second, FORMAT),
        )


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("method", ["ezvsl", "htf", "rcgrad"])
def test_a_training_step_never_waits_for_the_gpu(toy, method):
    """Whatever copies from or to the host in a blocking way keeps the CPU from running ahead."""
    _, dirs, ids, _ = toy
    module = TrainingModule(make_network(method), tiny(method), is_channels_last=True).to(GPU)
    source = SampleSource(
        ids,
        open_readers(dirs, module.model.reads),
        input_format=module.model.input_format,
        crops=RandomCrops(),
    )
    source.load_into_memory(device=GPU)
    optimizer = module.configure_optimizers()

    def step(batch):
        with torch.autocast("cuda", torch.bfloat16):
            loss, embeddings = module.compute_loss(batch)
        module.train_statistics.add(loss, embeddings)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    batches = [move_to(source[(0, range(first, first + 8))], GPU) for first in (0, 8, 16)]
    step(batches[0])  # constants and state are made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches[1:]:
            step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert module.train_statistics.has_finite_losses()


def make_network(method):
    return make_model(tiny(method)).to(memory_format=torch.channels_last)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("method", ["lvs", "ezvsl", "htf", "rcgrad", "flowgrad_ic", "flowgrad_en"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": "auto"},
        {"memory_limit_mb": 0, "num_workers": 2},
        {"is_deterministic": True},
        {"is_channels_last": False},
        {"is_compiled": True},
    ],
)
def test_training_on_a_gpu(toy, tmp_path, method, options):
    if options.get("is_compiled") and method not in ("ezvsl", "rcgrad"):
        pytest.skip("compiling takes a minute a network: two of them stand for all")
    usual = run(toy, tmp_path / "cpu", tiny(method))
    result = run(toy, tmp_path / "gpu", tiny(method), hardware=hardware(**options))
    assert losses(result)[0] == pytest.approx(losses(usual)[0], rel=0.1)
    assert read_run(tmp_path / "gpu")["device"] == torch.cuda.get_device_name()
    predictor = load_predictor(tmp_path / "gpu")
    maps = predictor.predict(toy[2][40:], open_readers(toy[1], predictor.reads))
    assert np.isfinite(maps).all()


@pytest.mark.gpu
@needs_gpu
def test_a_stopped_run_on_a_gpu_goes_on(toy, tmp_path, capsys):
    _, dirs, ids, _ = toy
    scores = iter([0.1, float("nan"), 0.2, 0.3])

    def train():
        return fit(
            tiny(epochs=3),
            TrainingData(features_dirs=dirs, train_ids=ids[:32], val_ids=ids[32:40]),
            FitFolders(run_dir=tmp_path / "run"),
            score_maps=lambda sample_ids, maps: next(scores),
            hardware=hardware(checkpoint_every_seconds=0),
            is_quiet=True,
        )

    with pytest.raises(Exception, match="selection score is not finite"):
        train()
    result = train()
    assert "going on from" in capsys.readouterr().err
    assert result.num_epochs == 3
    assert len(result.history) == 3


@pytest.mark.gpu
@needs_two_gpus
@pytest.mark.parametrize("negatives", ["gathered", "local"])
def test_two_gpus_train_together(toy, negatives):
    folder, *_ = toy
    parameters = {"method": "htf", **TINY, "freeze_vision": False, "negatives": negatives}
    found = {}
    for count in (1, 2):
        options = {
            "parameters": parameters,
            "num_samples": 48,
            "run": f"gpus_{negatives}_{count}",
            "hardware": {"accelerator": "cuda", "devices": count, "precision": "float32"},
        }
        done = subprocess.run(
            [sys.executable, str(TRAINING_SCRIPT), str(folder), json.dumps(options)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found[count] = json.loads(done.stdout.split("DONE ")[1].splitlines()[0])
    if negatives == "gathered":
        assert found[2][0] == pytest.approx(found[1][0], rel=0.02)
    assert np.isfinite(found[2]).all()
