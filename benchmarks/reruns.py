"""What a rerun costs: after a change of each feature's parameters, with 1 % more clips, and with nothing changed.

    python -m benchmarks.reruns [--clips N] [--seconds N]

Every figure is a ratio to the full extraction of all three features in the same run, in one process. Clips are 10 s of
H.264 and AAC at 640x360, 25 fps (as VGG-Sound's are), rendered by the `imageio-ffmpeg` binary into a temporary folder;
the order of steps is that of a user: everything, nothing, one parameter a feature, more clips.
"""

import argparse
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import imageio_ffmpeg
import pyarrow as pa

from earshot.files import sha256_of
from earshot.tables import DOWNLOADS, SAMPLES
from pipeline.features import flow, frames, spectrograms
from pipeline.shards.build import BuildOptions, BuildReport, FeatureFolders, build_feature
from pipeline.shards.cluster import ClusterParameters

HERE = ClusterParameters(workers=0)


def render_clip(path: Path, *, seed: int, seconds: int) -> None:
    """A moving test picture with grain, and a tone with noise."""
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"),
        *(
            "-f",
            "lavfi",
            "-i",
            f"testsrc2=size=640x360:rate=25:duration={seconds},noise=alls=12:allf=t:all_seed={seed}",
        ),
        *(
            "-f",
            "lavfi",
            "-i",
            f"sine=frequency={200 + 7 * seed}:duration={seconds}:sample_rate=44100",
        ),
        *(
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-crf",
            "26",
            "-g",
            "125",
            "-pix_fmt",
            "yuv420p",
        ),
        *("-c:a", "aac", "-shortest", str(path)),
    ]
    subprocess.run(command, check=True)


def render_clips(folder: Path, *, num_clips: int, num_rendered: int, seconds: int) -> None:
    """``num_clips`` different files; only some are rendered, the others get other bytes behind the last box."""
    folder.mkdir(parents=True)
    sources = []
    for i in range(num_rendered):
        path = folder.parent / f"source{i}.mp4"
        render_clip(path, seed=i, seconds=seconds)
        sources.append(path.read_bytes())
    for i in range(num_clips):
        # A `free` box is skipped by every reader: other bytes, the same media.
        box = (16).to_bytes(4, "big") + b"free" + i.to_bytes(8, "big")
        (folder / f"clip{i:06d}.mp4").write_bytes(sources[i % num_rendered] + box)


def make_tables(clips_dir: Path, num_clips: int) -> tuple[pa.Table, pa.Table]:
    """SAMPLES and DOWNLOADS of the first ``num_clips`` clips: one sample at each one's centre."""
    paths = sorted(clips_dir.glob("*.mp4"))[:num_clips]
    samples = [{"sample_id": path.stem, "clip_id": path.stem} for path in paths]
    downloads = [
        {"clip_id": path.stem, "status": "ok", "path": path.name, "sha256": sha256_of(path)}
        for path in paths
    ]
    return (
        pa.Table.from_pylist(samples, schema=SAMPLES.columns),
        pa.Table.from_pylist(downloads, schema=DOWNLOADS.columns),
    )


class Bench:
    """A cache in a folder, and the parameters it is built with."""

    def __init__(self, folder: Path, tables, *, cluster: ClusterParameters = HERE):
        self.folder, self.tables, self.cluster = folder, tables, cluster
        self.frames = frames.Parameters()
        self.spectrogram = spectrograms.Parameters()
        self.flow = flow.Parameters()

    def _build(self, feature, companions=()) -> BuildReport:
        samples, downloads = self.tables
        return build_feature(
            feature,
            samples=samples,
            downloads=downloads,
            folders=FeatureFolders(
                self.folder / "clips",
                self.folder / "store" / feature.name,
                self.folder / feature.name,
            ),
            options=BuildOptions(cluster=self.cluster, is_quiet=True),
            companions=companions,
        )

    def build_frames_and_flow(self) -> BuildReport:
        """The stage of frames, which leaves flow in its store."""
        return self._build(
            frames.make_feature(self.frames), companions=[flow.make_feature(self.flow)]
        )

    def build(self) -> tuple[dict[str, float], dict[str, int]]:
        """Run the three stages as `dvc repro` would; seconds and arrays computed by stage."""
        flow_feature = flow.make_feature(self.flow)
        stages = {
            "frames": self.build_frames_and_flow,
            "spectrograms": lambda: self._build(spectrograms.make_feature(self.spectrogram)),
            "flow": lambda: self._build(flow_feature),
        }
        seconds, computed = {}, {}
        for name, stage in stages.items():
            start = time.perf_counter()
            computed[name] = stage().computed
            seconds[name] = time.perf_counter() - start
        return seconds, computed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=10, help="length of a clip")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    num_more = max(1, arguments.clips // 100)
    with tempfile.TemporaryDirectory(prefix="earshot-reruns-") as name:
        folder = Path(name)
        render_clips(
            folder / "clips",
            num_clips=arguments.clips + num_more,
            num_rendered=8,
            seconds=arguments.seconds,
        )
        bench = Bench(folder, make_tables(folder / "clips", arguments.clips))
        steps = [
            ("everything", lambda: None),
            ("nothing changed", lambda: None),
            (
                "spectrogram.hop_length",
                lambda: setattr(bench, "spectrogram", replace(bench.spectrogram, hop_length=170)),
            ),
            (
                "flow.window_size",
                lambda: setattr(bench, "flow", replace(bench.flow, window_size=13)),
            ),
            (
                "frames.short_side",
                lambda: setattr(bench, "frames", replace(bench.frames, short_side=224)),
            ),
            ("all changed back", lambda: bench.__init__(folder, bench.tables)),
            (
                f"{num_more} more clips",
                lambda: setattr(bench, "tables", make_tables(folder / "clips", 10**9)),
            ),
        ]
        print(
            f"{arguments.clips} clips of {arguments.seconds} s, one process; arrays computed: frames/spectrograms/flow"
        )
        full = None
        for step, change in steps:
            change()
            seconds, computed = bench.build()
            total = sum(seconds.values())
            full = full or total
            counts = "/".join(str(computed[stage]) for stage in computed)
            print(f"{step:<26}{total:8.2f} s{100 * total / full:8.1f} %   {counts}", flush=True)
        arrays = sum(path.stat().st_size for path in folder.glob("[fs]*/*.h5"))
        print(
            f"disk: {arrays / (arguments.clips + num_more) / 1e6:.3f} MB a sample, all three features and their tables"
        )


if __name__ == "__main__":
    main()
