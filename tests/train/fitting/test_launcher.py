"""Training computes with the planned number of processes, whoever starts them, or is refused."""

import json
import os
import signal
import socket
import subprocess
import threading

import numpy as np
import pytest
import torch

from earshot.errors import ParameterError, RunError
from tests.helpers.training.toy_runs import TINY, run, tiny
from tests.helpers.training.training_processes import start_script
from train.fitting import fit as fit_module
from train.fitting.decision import share_decision
from train.fitting.devices import plan_trainer
from train.fitting.launcher import find_launch
from train.models.registry import build_parameters, make_model
from train.models.training_parameters import HardwareParameters
from train.runs.run_folder import write_model

# What SLURM sets in the script of `sbatch --ntasks=1`.
BATCH = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "1",
    "SLURM_NPROCS": "1",
    "SLURM_NNODES": "1",
    "SLURM_JOB_NODELIST": "node7",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "GROUP_RANK": "0",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}
MEETING = {"MASTER_ADDR": "a", "MASTER_PORT": "1"}
FNAC = {"num_contrast_epochs": 1, "epochs": 2}  # an epoch of each kind
SSPL = {
    "map_stride": 16,
    "select_on": "val",
    "freeze_vision": False,
    "freeze_sound": False,
    "teacher_weights": "random",
    "has_predictive_coding": True,
}
TWO = {"precision": "float64", "devices": 2}


def batch(**changes):
    return {**BATCH, **{f"SLURM_{name}": str(value) for name, value in changes.items()}}


def step(rank=0, *, tasks=2, nodes=1, **changes):
    """Return what SLURM sets for a task of ``srun --ntasks=TASKS --nodes=NODES``."""
    per_node = tasks // nodes
    places = {"PROCID": rank, "LOCALID": rank % per_node, "NODEID": rank // per_node}
    counts = {"NTASKS": tasks, "NNODES": nodes, "STEP_ID": 0, "STEP_NUM_TASKS": tasks}
    return batch(**{**places, **counts, "STEP_NUM_NODES": nodes, **changes})


def plan(environment, **hardware):
    hardware = HardwareParameters(accelerator="cpu", **hardware)
    return plan_trainer(tiny(), hardware, environment=environment)


@pytest.mark.parametrize(
    ("environment", "launcher", "num_processes", "is_first"),
    [
        ({}, "plain", 1, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0", "RANK": ""}, "plain", 1, True),
        (BATCH, "plain", 1, True),
        (batch(NTASKS=2, NTASKS_PER_NODE=2), "plain", 1, True),
        (batch(JOB_NAME="bash", STEP_ID=0, STEP_NUM_TASKS=1, NTASKS=2), "plain", 1, True),
        (step(0), "srun", 2, True),
        (step(1), "srun", 2, False),
        (step(1, JOB_NAME="interactive"), "srun", 2, False),
        (batch(PROCID=1, LOCALID=1, NTASKS=2), "srun", 2, False),
        (TORCHRUN, "torchrun", 2, False),
        ({**TORCHRUN, **step(1)}, "torchrun", 2, False),
        ({**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0"}, "torchrun", 2, True),
        ({k: v for k, v in TORCHRUN.items() if k[0] != "T"}, "by hand", 2, False),
    ],
)
def test_who_started_the_processes(environment, launcher, num_processes, is_first):
    launch = find_launch(environment)
    assert (launch.launcher, launch.num_processes) == (launcher, num_processes)
    assert launch.is_first == is_first


@pytest.mark.parametrize(
    ("environment", "hardware", "num_processes"),
    [
        ({}, {}, 1),
        ({}, {"devices": 2}, 2),
        (BATCH, {"devices": 2}, 2),
        (batch(NTASKS_PER_NODE=1), {"devices": 2}, 2),
        (batch(NTASKS=2, NTASKS_PER_NODE=2), {"devices": 2}, 2),
        (batch(NTASKS=2), {"devices": 2}, 2),
        (step(), {"devices": 2}, 2),
        (step(), {}, 2),
        (step(tasks=4, nodes=2), {"devices": 2, "num_nodes": 2}, 4),
        (TORCHRUN, {"devices": 2}, 2),
        (TORCHRUN, {}, 2),
        ({"MASTER_ADDR": "a", "MASTER_PORT": "1", "NODE_RANK": "1"}, {"num_nodes": 2}, 2),
    ],
)
def test_as_many_processes_are_planned_as_lightning_runs(environment, hardware, num_processes):
    planned = plan(environment, **hardware)
    assert planned.num_processes == num_processes


@pytest.mark.parametrize(
    ("environment", "hardware", "words"),
    [
        (step(tasks=2), {"devices": 1}, "srun: 2 training processes were started .* plans 1"),
        (step(tasks=4), {"devices": 2}, "srun: 4 training processes were started .* plans 2"),
        (step(tasks=4, nodes=2), {"devices": 4}, "srun: 4 .*2 on each machine.* plans 4"),
        (step(tasks=4, nodes=2), {}, r"plans 2 \(devices 2 x num_nodes 1\)"),
        (batch(STEP_NUM_TASKS=3, STEP_NUM_NODES=2), {}, "3 tasks on 2 nodes, expected equally"),
        (TORCHRUN, {"devices": 1}, "torchrun: 2 training processes were started .* plans 1"),
        ({**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"}, {"devices": 2}, "torchrun: 1 .* plans 2"),
        (BATCH, {"num_nodes": 2}, "srun --nodes=2 --ntasks-per-node=1"),
        ({}, {"num_nodes": 2, "devices": 2}, "torchrun --nnodes=2 --nproc-per-node=2"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, {"devices": 2}, "mpirun started 2 processes"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, {}, "RANK=1, WORLD_SIZE=2 says .* LOCAL_RANK,"),
        ({"LOCAL_RANK": "1"}, {"devices": 2}, "LOCAL_RANK=1 says .* WORLD_SIZE,"),
        (step(NODEID="x"), {}, "SLURM_NODEID is 'x', expected a whole number"),
        ({"SLURM_PROCID": "1", "SLURM_LOCALID": "1"}, {}, "SLURM_PROCID=1 says .* none of SLURM_S"),
        (step(2), {}, r"srun: this is process 2 \(from 0\) of 2"),
        ({**TORCHRUN, "RANK": "4"}, {}, r"torchrun: this is process 4 \(from 0\) of 2"),
        (
            {"WORLD_SIZE": "4", "LOCAL_RANK": "1", "NODE_RANK": "1", **MEETING},
            {"num_nodes": 2},
            "NODE_RANK=1: RANK is not set",
        ),
    ],
)
def test_another_number_of_processes_is_one_sentence(environment, hardware, words):
    with pytest.raises(ParameterError, match=words) as caught:
        plan(environment, **hardware)
    assert "\n" not in str(caught.value)


def test_lightning_and_the_plan_must_agree(toy, tmp_path, monkeypatch):
    """The loader hands out parts of batches, so nothing may train on fewer of them."""
    original = fit_module.plan_trainer

    def plan_two(parameters, hardware):
        single = original(parameters, hardware)
        return type(single)(**{**vars(single), "num_processes": 2})

    monkeypatch.setattr(fit_module, "plan_trainer", plan_two)
    with pytest.raises(ParameterError, match="2 training processes are planned, but Lightning"):
        run(toy, tmp_path / "run")


def find_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def finish(processes):
    """Return what the processes printed; none of them may hang or fail."""
    try:
        outputs = [process.communicate(timeout=250) for process in processes]
    except subprocess.TimeoutExpired:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
        raise
    for process, (_, log) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, log[-3000:]
    return "".join(output for output, _ in outputs)


def slow(*arguments):
    return pytest.param(*arguments, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("launcher", "settings"),
    [
        # Lightning starts the second process, as it does without SLURM.
        ("sbatch", {"method": "htf", "freeze_vision": False, "epochs": 2}),
        ("srun", {"method": "rcgrad"}),
        ("torchrun", {"method": "lvs", "batch_size": 6, "accumulate": 2}),
        slow("plain", {"method": "ezvsl"}),
        slow("sbatch_two_tasks", {"method": "ezvsl"}),
        slow("plain", {"method": "fnac", **FNAC}),
        slow("plain", {"method": "ssltie", "select_on": "val", "sound_seconds": 0.5}),
        slow("plain", {"method": "slavc", "negatives": "gathered", "epochs": 2}),
        slow("plain", {"method": "attention_resnet"}),
        slow("plain", {"method": "dmc", "sound_seconds": 0.25}),
        slow("plain", {"method": "avobject", "map_stride": 16}),
        slow("plain", {"method": "coarsetofine", "map_stride": 16, "sound_seconds": 0.2}),
        slow("plain", {"method": "sspl", "image_size": 96, **SSPL}),
        slow("plain", {"method": "hardpos", "num_neighbours": 5}),
        slow("plain", {"method": "sslalignment", "num_neighbours": 5}),
    ],
)
def test_two_processes_of_any_launcher_equal_one(toy, tmp_path, launcher, settings):
    """Compare losses in double precision; in single, rounding would grow with every step.

    Of the 11 samples of validation, the last batch has fewer, in parts of different sizes.
    """
    folders = toy[1], tmp_path / "two"
    settings = {**TINY, "epochs": 1, **settings}
    if settings["method"] == "coarsetofine":
        labels = np.random.default_rng(0).uniform(size=(2, len(toy[2]), 7))
        settings["labels"] = str(tmp_path / "labels.npz")
        np.savez(settings["labels"], sample_ids=toy[2], sound=labels[0], picture=labels[1])
    if "num_neighbours" in settings:
        encoder = tiny("lvs")
        write_model(tmp_path / "encoder", make_model(encoder), encoder)
        settings |= dict.fromkeys(("frame_encoder", "sound_encoder"), str(tmp_path / "encoder"))
    options = {"parameters": settings, "hardware": TWO, "num_samples": 44}
    if launcher == "srun":
        job = str(find_port())
        environments = [step(rank, JOB_ID=job) for rank in range(2)]
        processes = [start_script(*folders, environment=env, **options) for env in environments]
    elif launcher == "torchrun":
        words = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
        processes = [start_script(*folders, launcher=words, **options)]
    else:
        environment = {
            "plain": {},
            "sbatch": BATCH,
            "sbatch_two_tasks": batch(NTASKS=2, NTASKS_PER_NODE=2),
        }[launcher]
        processes = [start_script(*folders, environment=environment, **options)]
    found = finish(processes)

    ids = toy[2]
    double = HardwareParameters(accelerator="cpu", num_threads=1, precision="float64")
    parameters = build_parameters(settings, "test")
    sets = {"train_ids": ids[:33], "val_ids": ids[33:44], "test_ids": []}
    expected = run(toy, tmp_path / "one", parameters, double, **sets).history
    history = json.loads((tmp_path / "two" / "run.json").read_text())["history"]
    for name in ("train_loss", "val_loss"):
        assert [row[name] for row in history] == pytest.approx(
            [row[name] for row in expected], abs=1e-7
        )
    # Both processes took part in each batch.
    assert found.count("STEP") == 2 * (33 // parameters.batch_size) * parameters.epochs


def test_the_first_process_decides_for_all():
    """Others that looked for themselves could train alone, while the first one restores a run."""
    port = {"MASTER_PORT": str(find_port() - 1)}
    environments = [{**step(rank), **port} for rank in range(2)]
    first, second = (find_launch(environment) for environment in environments)
    for decision in (True, False):
        heard = []
        key = f"key{decision}"

        def hear(key=key, heard=heard):
            heard.append(share_decision(second, None, num_starts=2, key=key))

        thread = threading.Thread(target=hear)
        thread.start()
        assert share_decision(first, decision, num_starts=2, key=key) is decision
        thread.join(timeout=20)
        assert heard == [decision]


def test_processes_that_cannot_meet_are_one_sentence(monkeypatch):
    monkeypatch.setattr(
        "train.fitting.decision._CONNECT", torch.distributed.default_pg_timeout / 1e5
    )
    launch = find_launch({**step(1), "MASTER_PORT": str(find_port())})
    with pytest.raises(RunError, match="2 processes that train together lost each other at"):
        share_decision(launch, None, num_starts=2, key="key")
