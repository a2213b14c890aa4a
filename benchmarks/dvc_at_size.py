"""DVC over the cache of 200,000 samples: reruns without work, 1 % more clips, a pull.

    python -m benchmarks.dvc_at_size [--samples N] [--row-bytes N] [--cache-type hardlink]

Makes a temporary project of three feature stages. They run the real ``build_feature`` with an
extractor that returns random arrays, so everything but decoding is timed. The number of samples and
shards is that of the full VGG-Sound. The arrays are small (``--row-bytes``); this shortens only the
first commit, where DVC hashes each new shard once (the speed of hashing is printed). Prints seconds
by step, and how many old shards changed their inode or modification time.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FEATURES = ("frames", "spectrograms", "flow")

# A stage of the temporary project: the real engine with an extractor that decodes nothing.
STAGE = """
import hashlib, json, sys
from dataclasses import dataclass
from pathlib import Path
import numpy as np
import pyarrow as pa
from earshot.tables import DOWNLOADS, SAMPLES
from pipeline.features.feature import Extracted, Feature, Needs
from pipeline.shards.build import BuildOptions, FeatureFolders, build_feature
from pipeline.shards.workers.cluster import ClusterParameters

@dataclass(frozen=True)
class Parameters:
    row_bytes: int

def sha256_of(text):
    return hashlib.sha256(text.encode()).hexdigest()

def extract(path, moments, features):
    seed = int(hashlib.sha256(path.read_bytes()).hexdigest()[:8], 16)
    num_bytes = features[0].parameters.row_bytes
    for moment in moments:
        array = np.random.default_rng(seed).integers(0, 255, num_bytes, dtype=np.uint8)
        yield {feature.name: Extracted(array) for feature in features}

def main(name):
    settings = json.loads(Path("settings.json").read_text())
    ids = Path("clips.txt").read_text().split()
    samples = [{"sample_id": i, "clip_id": i} for i in ids]
    downloads = [
        {"clip_id": i, "status": "ok", "path": i, "bytes": len(i), "sha256": sha256_of(i)}
        for i in ids
    ]
    report = build_feature(
        Feature(
            name,
            kind="picture",
            version=1,
            parameters=Parameters(settings["row_bytes"]),
            attributes={},
            needs=lambda moment, info: Needs(),
            compute=lambda moment, decoded: None,  # `extract` is called instead
        ),
        samples=pa.Table.from_pylist(samples, schema=SAMPLES.columns),
        downloads=pa.Table.from_pylist(downloads, schema=DOWNLOADS.columns),
        folders=FeatureFolders(
            Path(settings["clips_dir"]), Path("cache/store") / name, Path("cache") / name
        ),
        extract=extract,
        options=BuildOptions(ClusterParameters(workers=0), shard_samples=64),
    )
    print(report.describe())

main(sys.argv[1])
"""


def run(command: list[str], folder: Path) -> tuple[float, str]:
    """Run a command in ``folder``; return its seconds and its output, or exit when it fails."""
    if command[0] == "dvc":
        command = [str(Path(sys.executable).with_name("dvc")), *command[1:]]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    start = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - start
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
    return seconds, done.stdout


def make_project(folder: Path, *, num_samples: int, row_bytes: int, cache_type: str) -> None:
    """Make a DVC project of three feature stages, with a remote beside it."""
    clips_dir = folder.parent / "clips"
    clips_dir.mkdir()
    folder.mkdir(parents=True)

    stages = "".join(
        f"  {name}:\n    cmd: {sys.executable} stage.py {name}\n"
        f"    deps: [clips.txt, settings.json]\n    outs: [cache/{name}]\n"
        for name in FEATURES
    )
    settings = {"row_bytes": row_bytes, "clips_dir": str(clips_dir)}
    (folder / "dvc.yaml").write_text(f"stages:\n{stages}")
    (folder / "stage.py").write_text(STAGE)
    (folder / "settings.json").write_text(json.dumps(settings))
    write_clips(folder, num_samples)

    for command in (
        ["git", "init", "-q"],
        ["dvc", "init", "-q"],
        ["dvc", "config", "core.analytics", "false"],
        ["dvc", "config", "core.check_update", "false"],
        ["dvc", "config", "core.autostage", "false"],
        ["dvc", "config", "cache.type", cache_type],
        ["dvc", "remote", "add", "-d", "local", str(folder.parent / "remote")],
    ):
        run(command, folder)


def write_clips(folder: Path, num_samples: int) -> None:
    """Write the list of clips, and one small file a clip."""
    clips_dir = Path(json.loads((folder / "settings.json").read_text())["clips_dir"])
    ids = [f"clip{i:07d}" for i in range(num_samples)]
    for clip_id in ids:
        path = clips_dir / clip_id
        if not path.exists():
            path.write_text(clip_id)
    (folder / "clips.txt").write_text("\n".join(ids))


def list_shards(folder: Path) -> dict[str, tuple[int, int]]:
    """Return (inode, modification time) of each shard in the features' folders."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted((folder / "cache").glob("*/*.h5"))
        if path.parent.name != "store"
    }


def measure_disk(folder: Path) -> str:
    """Return what a folder takes on disk; a file of several names counts once."""
    num_bytes = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        num_bytes[status.st_ino] = status.st_blocks * 512
    return f"{sum(num_bytes.values()) / 1e6:.0f} MB on disk"


def measure_hashing() -> float:
    """Return how many bytes a second MD5, DVC's hash, takes on this machine."""
    data = bytes(64_000_000)
    start = time.monotonic()
    hashlib.md5(data).hexdigest()
    return len(data) / (time.monotonic() - start)


def report(step: str, seconds: float, note: str = "") -> None:
    """Print one line."""
    print(f"{step:<52}{seconds:8.1f} s  {note}", flush=True)


def measure_project(project: Path, num_samples: int) -> None:
    """Run the steps of the first user: everything, nothing, more clips, push."""
    full_seconds, _ = run(["dvc", "repro"], project)
    before = list_shards(project)
    report(f"dvc repro, everything ({len(before)} shards)", full_seconds, measure_disk(project))
    report("dvc repro, nothing to do", run(["dvc", "repro"], project)[0])
    report("dvc status, nothing to do", run(["dvc", "status"], project)[0])

    write_clips(project, num_samples + num_samples // 100)
    seconds, _ = run(["dvc", "repro"], project)
    after = list_shards(project)
    num_touched = sum(after.get(name) != state for name, state in before.items())
    report(
        "dvc repro, 1 % more clips",
        seconds,
        f"{len(after) - len(before)} new shards, {num_touched} old touched; "
        f"{100 * seconds / full_seconds:.1f} % of everything",
    )
    seconds, _ = run(["dvc", "repro"], project)
    report("dvc repro, nothing to do again", seconds, measure_disk(project))
    report("dvc push", run(["dvc", "push", "-q"], project)[0])


def measure_colleague(project: Path, colleague: Path, num_samples: int) -> None:
    """Run the steps of somebody who has the repository: pull, nothing, more clips."""
    shutil.copytree(project, colleague, ignore=shutil.ignore_patterns("cache", "tmp"))
    run(["git", "init", "-q"], colleague)
    report("dvc pull, into an empty checkout", run(["dvc", "pull", "-q"], colleague)[0])

    seconds, output = run(["dvc", "repro"], colleague)
    note = "runs nothing" if "Running stage" not in output else "RUNS STAGES"
    report("dvc repro there", seconds, note)

    write_clips(colleague, num_samples + 2 * (num_samples // 100))
    seconds, output = run(["dvc", "repro"], colleague)
    lines = [line for line in output.splitlines() if " computed, " in line]
    note = "; ".join(line.split("; ")[1] for line in lines)
    report("dvc repro there, 1 % more clips", seconds, note)


def main() -> None:
    """Print the seconds of each step."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--row-bytes", type=int, default=512)
    parser.add_argument("--cache-type", default="hardlink,copy")
    parser.add_argument(
        "--folder", type=Path, help="where to make the temporary folder (default: the system's)"
    )
    arguments = parser.parse_args()

    base = Path(tempfile.mkdtemp(prefix="earshot-dvc-", dir=arguments.folder))
    project, num_samples = base / "project", arguments.samples
    try:
        make_project(
            project,
            num_samples=num_samples,
            row_bytes=arguments.row_bytes,
            cache_type=arguments.cache_type,
        )
        measure_project(project, num_samples)
        measure_colleague(project, base / "colleague", num_samples)

        shard = next((project / "cache" / FEATURES[0]).glob("*.h5"))
        print(
            f"DVC's hash (MD5): {measure_hashing() / 1e6:.0f} MB/s, once for each new shard; "
            f"a shard here: {shard.stat().st_size} bytes"
        )
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
