"""DVC over the cache of 200,000 samples: no-op reruns, 1 % more clips, and a colleague who pulls.

    python -m benchmarks.dvc_at_size [--samples N] [--row-bytes N] [--cache-type hardlink]

Makes a throwaway project of three feature stages over the real engine (`pipeline.shards.build`) with an extractor that makes
up its arrays, so what is timed is everything but decoding. The number of samples and shards is that of the full
VGG-Sound; the arrays are small (``--row-bytes``), which changes the first commit (DVC hashes each new shard once: the
throughput is printed) and nothing else. Steps and their seconds are printed, and which shards changed their inode or
modification time.
"""

import argparse
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

STAGE = """
import hashlib, json, sys
from dataclasses import dataclass
from pathlib import Path
import numpy as np
import pyarrow as pa
from pipeline.shards.build import BuildOptions, FeatureFolders, build_feature
from pipeline.shards.cluster import ClusterParameters
from pipeline.features.feature import Extracted, Feature
from earshot.tables import DOWNLOADS, SAMPLES

@dataclass(frozen=True)
class Parameters:
    row_bytes: int

def sha256_of(text):
    return hashlib.sha256(text.encode()).hexdigest()

def extract(path, moments, features):
    seed = int(hashlib.sha256(path.read_bytes()).hexdigest()[:8], 16)
    for moment in moments:
        array = np.random.default_rng(seed).integers(0, 255, features[0].parameters.row_bytes, dtype=np.uint8)
        yield {feature.name: Extracted(array) for feature in features}

def main(name):
    settings = json.loads(Path("settings.json").read_text())
    ids = Path("clips.txt").read_text().split()
    samples = pa.table({"sample_id": ids, "clip_id": ids, "time_seconds": pa.nulls(len(ids), pa.float64()),
                        "audio_clip_id": pa.nulls(len(ids), pa.string())})
    none = pa.nulls(len(ids), pa.string())
    downloads = pa.table({"clip_id": ids, "status": ["ok"] * len(ids), "reason": none, "detail": none, "path": ids,
                          "bytes": [len(i) for i in ids], "sha256": [sha256_of(i) for i in ids]})
    feature = Feature(name, 1, Parameters(settings["row_bytes"]), {}, None, None)
    folders = FeatureFolders(Path(settings["clips_dir"]), Path("cache/store") / name, Path("cache") / name)
    report = build_feature(feature, samples=samples, downloads=downloads, folders=folders, extract=extract,
        options=BuildOptions(ClusterParameters(workers=0), shard_samples=64))
    print(report.describe())

main(sys.argv[1])
"""


def run(command: list[str], folder: Path) -> tuple[float, str]:
    """Run a command there; its seconds and its output. Raises when it fails."""
    start = time.monotonic()
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
    return time.monotonic() - start, done.stdout


def make_project(folder: Path, *, num_samples: int, row_bytes: int, cache_type: str) -> None:
    folder.mkdir(parents=True)
    stages = [
        f"  {name}:\n    cmd: {sys.executable} stage.py {name}\n    deps: [clips.txt, settings.json]\n"
        f"    outs: [cache/{name}]\n"
        for name in FEATURES
    ]
    (folder / "dvc.yaml").write_text("stages:\n" + "".join(stages))
    (folder / "stage.py").write_text(STAGE)
    clips_dir = folder.parent / "clips"
    clips_dir.mkdir()
    (folder / "settings.json").write_text(
        json.dumps({"row_bytes": row_bytes, "clips_dir": str(clips_dir)})
    )
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
        run(_with_dvc(command), folder)


def _with_dvc(command: list[str]) -> list[str]:
    return (
        [str(Path(sys.executable).with_name("dvc")), *command[1:]]
        if command[0] == "dvc"
        else command
    )


def write_clips(folder: Path, num_samples: int) -> None:
    """The list of clips, and one small file a clip."""
    clips_dir = Path(json.loads((folder / "settings.json").read_text())["clips_dir"])
    ids = [f"clip{i:07d}" for i in range(num_samples)]
    for clip_id in ids:
        path = clips_dir / clip_id
        if not path.exists():
            path.write_text(clip_id)
    (folder / "clips.txt").write_text("\n".join(ids))


def states(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted((folder / "cache").glob("*/*.h5"))
        if path.parent.name != "store"
    }


def blocks(folder: Path) -> int:
    """Bytes that the folder takes on disk (a file of several names counts once)."""
    seen = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        seen[status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--row-bytes", type=int, default=512)
    parser.add_argument("--cache-type", default="hardlink,copy")
    parser.add_argument(
        "--folder",
        type=Path,
        help="where to work (default: a temporary folder, removed afterwards)",
    )
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="earshot-dvc-", dir=arguments.folder))
    project, colleague = base / "project", base / "colleague"
    try:
        make_project(
            project,
            num_samples=arguments.samples,
            row_bytes=arguments.row_bytes,
            cache_type=arguments.cache_type,
        )
        num_more = arguments.samples // 100
        repro = _with_dvc(["dvc", "repro"])

        def report(text, seconds, note=""):
            print(f"{text:<52}{seconds:8.1f} s  {note}", flush=True)

        full, _ = run(repro, project)
        before = states(project)
        report(
            f"dvc repro, everything ({len(before)} shards)",
            full,
            f"{blocks(project) / 1e6:.0f} MB on disk",
        )
        report("dvc repro, nothing to do", run(repro, project)[0])
        report("dvc status, nothing to do", run(_with_dvc(["dvc", "status"]), project)[0])
        write_clips(project, arguments.samples + num_more)
        seconds, _ = run(repro, project)
        after = states(project)
        moved = sum(after.get(name) != state for name, state in before.items())
        report(
            "dvc repro, 1 % more clips",
            seconds,
            f"{len(after) - len(before)} new shards, {moved} old touched; {100 * seconds / full:.1f} % of everything",
        )
        report(
            "dvc repro, nothing to do again",
            run(repro, project)[0],
            f"{blocks(project) / 1e6:.0f} MB on disk",
        )
        report("dvc push", run(_with_dvc(["dvc", "push", "-q"]), project)[0])
        ignored = shutil.ignore_patterns("cache", "tmp")
        shutil.copytree(project, colleague, ignore=ignored)
        run(["git", "init", "-q"], colleague)
        report(
            "dvc pull, into an empty checkout", run(_with_dvc(["dvc", "pull", "-q"]), colleague)[0]
        )
        seconds, output = run(repro, colleague)
        report(
            "dvc repro there",
            seconds,
            "runs nothing" if "Running stage" not in output else "RUNS STAGES",
        )
        write_clips(colleague, arguments.samples + 2 * num_more)
        seconds, output = run(repro, colleague)
        lines = [line for line in output.splitlines() if " computed, " in line]
        report(
            "dvc repro there, 1 % more clips",
            seconds,
            "; ".join(line.split("; ")[1] for line in lines),
        )
        shard = next((project / "cache" / FEATURES[0]).glob("*.h5"))
        print(
            f"DVC's hash (MD5): {hash_rate() / 1e6:.0f} MB/s, once for each new shard; "
            f"a shard here: {shard.stat().st_size} bytes"
        )
    finally:
        shutil.rmtree(base, ignore_errors=True)


def hash_rate() -> float:
    """Bytes a second that MD5 makes on this machine."""
    import hashlib

    data = bytes(64_000_000)
    start = time.monotonic()
    hashlib.md5(data).hexdigest()
    return len(data) / (time.monotonic() - start)


if __name__ == "__main__":
    main()
