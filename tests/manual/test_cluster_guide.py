"""The words of docs/guides/cluster.md, followed on this machine.

How trainings start (plain, `srun`, `torchrun`, in a script of `sbatch`) is tested in
tests/train/fitting/test_launcher.py with the variables that Slurm sets.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from earshot.errors import RunError
from pipeline.shards.workers.cluster import ClusterParameters
from tests.helpers.cache.fake_cache import build, contents
from tests.helpers.cache.fake_features import make_dataset
from tests.helpers.checkouts import make_checkout, skip_check
from tests.helpers.manual_pages import read_commands
from tests.helpers.paths import ROOT

COMMANDS = [command.words for command in read_commands("docs/guides/cluster.md")]
TEXTS = {f"clip{i:03d}": f"text {i}" for i in range(24)}
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}


def find_command(*beginning: str) -> list[str]:
    """Return the only command of the page that begins so, with this Python."""
    found = {words for words in COMMANDS if words[: len(beginning)] == beginning}
    (words,) = found
    return [sys.executable, *words[1:]] if words[0] == "python" else list(words)


@contextlib.contextmanager
def running(
    folder: Path, words: Sequence[str], environment: dict[str, str] = ENVIRONMENT
) -> Iterator[subprocess.Popen]:
    """Run a command in a folder until the end of the block."""
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_scheduler(path: Path, process: subprocess.Popen) -> None:
    """Wait until a scheduler has written its whole file, however busy the machine is."""
    while process.poll() is None:
        # Dask writes the file in place, so it can be there and be incomplete.
        with contextlib.suppress(RunError):
            ClusterParameters(scheduler_file=str(path)).fill_from({})
            return
        time.sleep(0.05)
    pytest.fail(f"the scheduler ended with exit code {process.returncode}, without {path.name}")


def build_there(folder: Path, monkeypatch) -> None:
    """Build a feature as a stage does after step 3; its bytes are those of this process."""
    name, _, value = find_command("export")[1].partition("=")
    monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    report = build(
        folder,
        make_dataset(folder, TEXTS),
        cluster=ClusterParameters(dashboard=False).fill_from(os.environ),
    )
    assert (report.ok, report.computed) == (24, 24)
    (folder / "here").mkdir()
    build(folder / "here", make_dataset(folder / "here", TEXTS))
    assert contents(folder / "frames") == contents(folder / "here" / "frames")


def test_a_scheduler_and_workers_over_a_shared_folder(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    scheduler = find_command("python", "-m", "dask", "scheduler")
    worker = [*find_command("python", "-m", "dask", "worker"), "--no-dashboard"]
    here = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(running(tmp_path, [*scheduler, *here]))
        wait_for_scheduler(tmp_path / "cache" / "scheduler.json", process)
        for _ in range(2):
            stack.enter_context(running(tmp_path, worker))
        build_there(tmp_path, monkeypatch)


def test_jobs_of_a_fixed_size_run_the_same_worker():
    wrapped = find_command("sbatch", "--ntasks=64")[-1].split()
    assert wrapped[0] == "srun"
    assert [sys.executable, *wrapped[2:]] == find_command("python", "-m", "dask", "worker")


SBATCH = """#!/bin/sh
# Runs the script at once, as a job of this machine.
cp "$1" "$(dirname "$0")/job.sh"
sh "$1" >/dev/null 2>&1 &
echo "Submitted batch job $!"
"""


@pytest.mark.slow
def test_dask_jobqueue_submits_workers(tmp_path, monkeypatch):
    programs = tmp_path / "programs"
    programs.mkdir()
    (tmp_path / "cache").mkdir()
    for name, text in {"sbatch": SBATCH, "scancel": '#!/bin/sh\nkill "$@" 2>/dev/null\n'}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    python, script, *options = find_command("python", "examples/slurm_workers.py")
    options[options.index("--jobs") + 1] = "2"

    environment = ENVIRONMENT | {"PATH": f"{programs}:{os.environ['PATH']}"}
    file = tmp_path / "cache" / "scheduler.json"
    with running(tmp_path, [python, str(ROOT / script), *options], environment) as process:
        wait_for_scheduler(file, process)
        build_there(tmp_path, monkeypatch)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait() == 0
    assert not file.exists()
    job = (programs / "job.sh").read_text()
    assert "#SBATCH -t 04:00:00" in job
    assert f"cd {tmp_path}" in job


def test_a_scheduler_file_that_is_not_there_or_another_is_one_sentence(tmp_path):
    path = tmp_path / "scheduler.json"
    parameters = ClusterParameters(scheduler_file=str(path))
    with pytest.raises(RunError, match=r"scheduler\.json: not found; start a scheduler that"):
        parameters.fill_from({"DASK_SCHEDULER_ADDRESS": "tcp://other:1"})
    path.write_text("[]")
    with pytest.raises(RunError, match="not a scheduler's file"):
        parameters.fill_from({})
    path.write_text('{"address": "tcp://127.0.0.1:5"}')
    assert parameters.fill_from({}).scheduler_address == "tcp://127.0.0.1:5"
    environment = {"DASK_SCHEDULER_FILE": str(path), "DASK_SCHEDULER_ADDRESS": "tcp://other:1"}
    assert ClusterParameters().fill_from(environment).scheduler_address == "tcp://other:1"


def run_stage(checkout: Path, *words: str) -> str:
    """Run a stage of a checkout; return what it prints."""
    environment = os.environ | {"EARSHOT_STORE": str(checkout.parent / "storage")}
    environment |= {"PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, *words], cwd=checkout, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_features_are_computed_elsewhere_while_clips_arrive(tmp_path):
    first = make_checkout(tmp_path / "first", {"sources.sample.num_train": 4})
    skip_check(first)
    second = tmp_path / "second"
    shutil.copytree(first, second)
    run_stage(first, "-m", "stages.sources", "sample")
    run_stage(first, "-m", "stages.download", "sample")

    # Step 2 of the page, for the dataset that is here.
    (second / "manifests" / "sample").mkdir()
    copies = [words for words in COMMANDS if words[0] == "cp"]
    assert len(copies) == 3
    for _, source, target in copies:
        source, target = (word.replace("vggsound", "sample") for word in (source, target))
        shutil.copy(second / source, second / target)
    words = find_command("python", "-m", "stages.feature", "frames")[1:-1]
    printed = run_stage(second, *words, "sample")
    assert ", 0 from the cache" in printed

    # Step 4: the first checkout finds the arrays.
    printed = run_stage(first, *words, "sample")
    assert "; 0 computed, " in printed
    assert contents(first / "cache" / "sample" / "frames") == contents(
        second / "cache" / "sample" / "frames"
    )
