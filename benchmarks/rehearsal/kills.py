"""Kill ``dvc repro`` at random moments of every stage; the results must be those without a kill.

    python -m benchmarks.rehearsal.kills [--kills N] [--last STAGE ...] [--in STAGE ...]

A small copy of this checkout runs once undisturbed. Then all that it made is removed, and it runs
again and again: in each stage it is killed (SIGKILL) at random moments and started anew, until each
stage was killed ``--kills`` times. At the end of each round, tables, shards and scores are compared
with those of the undisturbed run. Exits with 1 at a difference.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.helpers.checkouts import make_checkout

_KILLS_A_ROUND = 4  # of one stage: each one leaves it less to do
_MADE = ("cache", "manifests", "reports")
_FOLDERS_OF_STAGES = (".dvc/cache", ".dvc/tmp")
# What tells when something was done. All else must be equal.
_TIMES = {"last_attempt", "seconds", "hours", "date", "time", "minutes", "started", "finished"}
_SETTINGS = {
    "sources.sample.num_train": 40,
    "cluster.workers": 2,
    "cluster.dashboard": False,
    "train.ezvsl.epochs": 4,
    "train.htf.epochs": 4,
}


@dataclass
class Outcome:
    """What a run of ``dvc repro`` did."""

    stages: list[tuple[str, float]] = field(default_factory=list)  # names, and when they began
    ended_at: float = 0.0
    killed_in: str | None = None
    returncode: int = 0
    output: list[str] = field(default_factory=list)

    def list_durations(self) -> dict[str, float]:
        """Return how long each stage took, with DVC's work behind it."""
        # Without any stage there is nothing that ended.
        ends = [*(start for _, start in self.stages[1:]), self.ended_at][: len(self.stages)]
        return {name: end - start for (name, start), end in zip(self.stages, ends, strict=True)}


def repro(
    folder: Path,
    words: list[str],
    *,
    delays: dict[str, float] | None = None,
    is_dvc_alone: bool = False,
) -> Outcome:
    """Run ``dvc repro``; kill it when a stage has run for its delay (``delays``, by stage)."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    outcome, delays = Outcome(), delays or {}

    # A file, not a pipe: nobody would empty a pipe while this process sleeps.
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(
            ["dvc", "repro", *words],
            cwd=folder,
            env=environment,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        # Each stage that DVC names begins now, and its own delay counts from here.
        kill_at = float("inf")
        while process.poll() is None:
            time.sleep(0.02)
            for name in _find_stages(printed)[len(outcome.stages) :]:
                outcome.stages.append((name, time.monotonic()))
                kill_at = outcome.stages[-1][1] + delays.get(name, float("inf"))

            if time.monotonic() >= kill_at:
                outcome.killed_in = outcome.stages[-1][0]
                # It may have ended just now.
                with contextlib.suppress(ProcessLookupError):
                    if is_dvc_alone:
                        os.kill(process.pid, signal.SIGKILL)
                    else:
                        os.killpg(process.pid, signal.SIGKILL)
                break

        process.wait()
        outcome.ended_at, outcome.returncode = time.monotonic(), process.returncode
        printed.seek(0)
        outcome.output = printed.read().splitlines()

    # Nothing but the kill may end it with an error.
    if outcome.returncode != 0 and outcome.killed_in is None:
        raise SystemExit("\n".join(["dvc repro failed:", *outcome.output[-40:]]))
    return outcome


def _find_stages(printed: Any) -> list[str]:
    place = os.pread(printed.fileno(), 1 << 24, 0).decode(errors="replace")
    return [
        line.split("'")[1]
        for line in place.splitlines(keepends=True)
        if line.startswith("Running stage '") and line.endswith("\n")
    ]


def describe_state(folder: Path) -> dict[str, str]:
    """Return a hash of each table, shard and score that a checkout holds, without times."""
    patterns = (
        *("manifests/*/*.parquet", "manifests/*/*.json", "manifests/*/*.csv"),
        *("cache/*/*/*.h5", "cache/*/*/index.parquet", "cache/maps/*/*.npz"),
        *("reports/*.parquet", "reports/*.json", "reports/*.csv"),
    )
    # What a killed writer leaves is no result: nothing reads it.
    found = (path for pattern in patterns for path in folder.glob(pattern))
    paths = sorted(path for path in found if not path.name.startswith(".tmp-"))
    return {str(path.relative_to(folder)): _hash_content(path) for path in paths}


def _hash_content(path: Path) -> str:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        content = repr(table.drop_columns(sorted(_TIMES & set(table.column_names))).to_pylist())
    elif path.suffix == ".json":
        content = json.dumps(_drop_times(json.loads(path.read_text())), sort_keys=True)
    else:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(content.encode()).hexdigest()


def _drop_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _drop_times(item) for key, item in value.items() if key not in _TIMES}
    return [_drop_times(item) for item in value] if isinstance(value, list) else value


def remove_results(folder: Path) -> None:
    """Remove all that stages made, and what DVC knows of it."""
    subprocess.run(["git", "clean", "-q", "-dffx", *_MADE, ".dvc"], cwd=folder, check=True)
    (folder / "dvc.lock").unlink(missing_ok=True)
    for name in _FOLDERS_OF_STAGES:
        shutil.rmtree(folder / name, ignore_errors=True)


def run_round(
    folder: Path,
    words: list[str],
    durations: dict[str, float],
    wanted: dict[str, int],
    generator: random.Random,
    *,
    is_dvc_alone: bool,
) -> Counter[str]:
    """Run from nothing to the end, and kill each stage up to so many times; return how often."""
    kills: Counter[str] = Counter()
    while True:
        delays = {
            name: generator.uniform(0, seconds)
            for name, seconds in durations.items()
            if kills[name] < wanted.get(name, 0)
        }
        outcome = repro(folder, words, delays=delays, is_dvc_alone=is_dvc_alone)
        # A stage that finds most of its work done is short, and must be killed earlier.
        for name, seconds in outcome.list_durations().items():
            if name != outcome.killed_in:
                durations[name] = min(durations[name], seconds)
        if outcome.killed_in is None:
            return kills
        kills[outcome.killed_in] += 1


def run_rounds(folder: Path, words: list[str], arguments: argparse.Namespace) -> Iterator[str]:
    """Yield a line for each round; raise ``SystemExit`` at a difference."""
    undisturbed = repro(folder, words)
    durations, truth = undisturbed.list_durations(), describe_state(folder)
    yield ", ".join(f"{name} {seconds:.0f} s" for name, seconds in durations.items())
    # Otherwise nothing would be killed, without a word.
    absent = set(arguments.stages) - set(durations)
    if absent:
        raise SystemExit(f"--in: {', '.join(sorted(absent))} did not run; name stages as above")

    generator, total = random.Random(arguments.seed), Counter[str]()
    num_rounds, end = 0, time.monotonic() + 60 * arguments.minutes
    while time.monotonic() < end:
        rest = {
            name: min(_KILLS_A_ROUND, arguments.kills - total[name])
            for name in durations
            if not arguments.stages or name in arguments.stages
        }
        if not any(number > 0 for number in rest.values()):
            break

        remove_results(folder)
        total += run_round(
            folder, words, durations, rest, generator, is_dvc_alone=arguments.whom == "dvc"
        )
        num_rounds += 1

        # Whatever was killed, the end is that of the undisturbed run.
        state = describe_state(folder)
        different = sorted(name for name in {*truth, *state} if truth.get(name) != state.get(name))
        if different:
            raise SystemExit(f"round {num_rounds} differs: {', '.join(different)}")
        kills = ", ".join(f"{name} {total[name]}" for name in rest)
        yield f"{num_rounds} rounds equal, {len(truth)} files each; killed {total.total()}: {kills}"


def main() -> None:
    """Print the kills so far after each round."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="of each stage")
    parser.add_argument("--last", nargs="*", default=[], help="the stages to reach; default: all")
    parser.add_argument("--in", dest="stages", nargs="*", default=[], help="default: all")
    parser.add_argument("--whom", choices=("all", "dvc"), default="all", help="processes to kill")
    parser.add_argument("--minutes", type=float, default=60.0, help="no round begins later")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="earshot-kills-") as name:
        folder = make_checkout(Path(name) / "checkout", _SETTINGS)
        for line in run_rounds(folder, arguments.last, arguments):
            print(line, flush=True)


if __name__ == "__main__":
    main()
