"""Does ``plan`` say what a job then takes? Clips come from a server on 127.0.0.1.

A job of a few clips comes first, so that sizes are known. Then `plan` speaks, the stages run as
`dvc repro` runs them, and both are printed side by side: requests, megabytes, processor time and
time. The first job also shows what starting a stage takes, which is the same for any number of
clips and is left out. Exits with 1 when a total is more than 25 % off. The time of features is only
printed, because other programs of the machine count in it; that of downloads is set by the pace.

    python -m benchmarks.plan --num-clips 300 --seconds 4
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from benchmarks.inputs.clips import render_many_clips

_ROOT = Path(__file__).resolve().parents[1]
_NUM_FIRST = 16  # clips of the first job
_TOLERANCE = 0.25
_FEATURES = ("frames", "flow", "spectrograms")


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder and counts the requests."""

    num_requests = 0

    def do_GET(self) -> None:
        """Send a file."""
        type(self).num_requests += 1
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def main(argv: list[str] | None = None) -> int:
    """Compare; return 1 when a total is more than 25 % off."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num-clips", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=4, help="length of a clip")
    parser.add_argument("--per-hour", type=float, default=10_000, help="the pace of requests")
    parser.add_argument("--workers", type=int, default=2, help="processes that fetch")
    arguments = parser.parse_args(argv)

    with tempfile.TemporaryDirectory(prefix="earshot-plan-") as name:
        folder = Path(name)
        render_many_clips(
            folder / "served",
            num_clips=arguments.num_clips,
            num_rendered=4,
            seconds=arguments.seconds,
        )
        handler = partial(_Handler, directory=str(folder / "served"))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_port}"
            _write_project(folder, address, arguments)
            rows = _measure(folder, arguments)
            server.shutdown()
    return _print_rows(rows)


def _write_project(folder: Path, address: str, arguments: argparse.Namespace) -> None:
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "url", "start", "end"])
        for number in range(arguments.num_clips):
            name = f"clip{number:06d}"
            writer.writerow([name, f"{address}/{name}.mp4", 0, arguments.seconds])

    params = yaml.safe_load((_ROOT / "params.yaml").read_text())
    params |= {"datasets": ["served"], "models": []}
    source = {"kind": "table", "path": str(folder / "list.csv"), "ids": str(folder / "ids.txt")}
    params["sources"] = {"served": source}
    params["evaluate"]["subsets"] = {}
    params["download"]["num_workers"] = arguments.workers
    params["download"]["loopback_videos_per_hour"] = arguments.per_hour
    params["cluster"]["workers"] = 0  # a cluster of processes starts for many seconds
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def _measure(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each stage: what `plan` said, and what it took."""
    ids_path = folder / "ids.txt"
    ids_path.write_text("".join(f"clip{number:06d}\n" for number in range(_NUM_FIRST)))
    first = _run_stages(folder)

    # The same list without the choice of ids.
    ids_path.write_text("".join(f"clip{n:06d}\n" for n in range(arguments.num_clips)))
    _run(folder, "stages.sources", "served")
    printed = _run(folder, "pipeline", "plan", "served", "--format", "json")[2]
    planned = {row["stage"]: row for row in json.loads(printed)}
    second = _run_stages(folder)

    # Both jobs start, so the difference is that of their clips.
    num_clips = arguments.num_clips - _NUM_FIRST
    share = num_clips / (num_clips - _NUM_FIRST)
    rows = []
    for stage, costs in second.items():
        measured = dict(costs)
        for key in ("hours", "cpu_hours"):
            measured[key] = (costs[key] - first[stage][key]) * share
        rows.append({"stage": stage, "planned": planned[stage], "measured": measured})
    return rows


def _run_stages(folder: Path) -> dict[str, dict[str, float]]:
    """List the clips, then download and compute; return what each stage took and made."""
    _run(folder, "stages.sources", "served")
    costs = {}
    for stage in ("download", *_FEATURES):
        words = ["download"] if stage == "download" else ["feature", stage]
        num_bytes, num_requests = _size_of(folder, stage), _Handler.num_requests
        seconds, processor_seconds, _ = _run(folder, f"stages.{words[0]}", *words[1:], "served")
        costs[stage] = {
            "hours": seconds / 3600,
            "cpu_hours": processor_seconds / 3600,
            "gigabytes": (_size_of(folder, stage) - num_bytes) / 1e9,
            "requests": _Handler.num_requests - num_requests,
        }
    return costs


def _run(folder: Path, module: str, *words: str) -> tuple[float, float, str]:
    """Run a program of the project; return its seconds, its processor's, and what it printed."""
    before, start = _processor_seconds(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return time.monotonic() - start, _processor_seconds() - before, done.stdout


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _size_of(folder: Path, stage: str) -> int:
    name, pattern = ("clips", "*.mp4") if stage == "download" else (stage, "*.h5")
    paths = (folder / "cache" / "served" / name).glob(pattern)
    return sum(path.stat().st_size for path in paths)


def _print_rows(rows: list[dict[str, Any]]) -> int:
    print(f"{'stage':14}{'what':12}{'planned':>10}{'measured':>10}{'off':>8}")
    units = {"hours": ("seconds", 3600), "cpu_hours": ("processor", 3600)}
    units |= {"gigabytes": ("MB", 1000), "requests": ("requests", 1)}
    totals = {key: [0.0, 0.0] for key in units}
    for row in rows:
        for key, (unit, factor) in units.items():
            pair = [(row[side].get(key) or 0) * factor for side in ("planned", "measured")]
            totals[key] = [sum(both) for both in zip(totals[key], pair, strict=True)]
            _print_pair(row["stage"], unit, *pair)
    errors = {key: _print_pair("all", units[key][0], *pair) for key, pair in totals.items()}
    # Other programs of the machine count in the time of features, not in that of a pace.
    hours = (row["hours"] for row in (rows[0]["planned"], rows[0]["measured"]))
    errors["hours"] = abs(next(hours) / next(hours) - 1)
    return int(max(errors.values()) > _TOLERANCE)


def _print_pair(stage: str, unit: str, planned: float, measured: float) -> float:
    error = planned / measured - 1 if measured > 0 else 0.0
    if planned or measured > 0:
        print(f"{stage:14}{unit:12}{planned:10.2f}{measured:10.2f}{error:8.0%}")
    return abs(error)


if __name__ == "__main__":
    sys.exit(main())
