"""A cache of frames, spectrograms and flow in a temporary folder, built as the stages build it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from earshot.files import sha256_of
from earshot.tables import DOWNLOADS, SAMPLES
from pipeline.features import flow, frames, spectrograms
from pipeline.features.feature import Feature
from pipeline.shards.build import BuildOptions, BuildReport, FeatureFolders, build_feature
from pipeline.shards.workers.cluster import ClusterParameters

IN_THIS_PROCESS = ClusterParameters(workers=0)


class FeatureCache:
    """The features of the first clips in a folder.

    Attributes:
        frames, spectrogram, flow: Parameters of the next build; change them to see what it costs.
    """

    def __init__(
        self,
        folder: Path,
        clips_dir: Path,
        num_clips: int,
        *,
        cluster: ClusterParameters = IN_THIS_PROCESS,
    ):
        self.folder, self._clips_dir, self._cluster = folder, clips_dir, cluster
        self.use_default_parameters()
        self.use_clips(num_clips)

    def use_default_parameters(self) -> None:
        """Go back to the parameters of the beginning."""
        self.frames = frames.Parameters()
        self.spectrogram = spectrograms.Parameters()
        self.flow = flow.Parameters()

    def use_clips(self, num_clips: int) -> None:
        """Take the first ``num_clips`` clips, with one sample at the centre of each."""
        paths = sorted(self._clips_dir.glob("*.mp4"))[:num_clips]
        samples = [{"sample_id": path.stem, "clip_id": path.stem} for path in paths]
        downloads = [
            {"clip_id": path.stem, "status": "ok", "path": path.name, "sha256": sha256_of(path)}
            for path in paths
        ]
        self._samples = pa.Table.from_pylist(samples, schema=SAMPLES.columns)
        self._downloads = pa.Table.from_pylist(downloads, schema=DOWNLOADS.columns)

    def build_frames_and_flow(self) -> BuildReport:
        """Run the stage of frames, which computes flow in the same pass."""
        companion = flow.make_feature(self.flow)
        return self._build(frames.make_feature(self.frames), companions=[companion])

    def build(self) -> tuple[dict[str, float], dict[str, int]]:
        """Run the three stages as `dvc repro` would.

        Returns:
            Seconds, and the number of computed arrays, by stage.
        """
        stages: dict[str, Callable[[], BuildReport]] = {
            "frames": self.build_frames_and_flow,
            "spectrograms": lambda: self._build(spectrograms.make_feature(self.spectrogram)),
            "flow": lambda: self._build(flow.make_feature(self.flow)),
        }
        seconds, num_computed = {}, {}
        for name, stage in stages.items():
            start = time.perf_counter()
            num_computed[name] = stage().computed
            seconds[name] = time.perf_counter() - start
        return seconds, num_computed

    def _build(self, feature: Feature, companions: Sequence[Feature] = ()) -> BuildReport:
        return build_feature(
            feature,
            samples=self._samples,
            downloads=self._downloads,
            folders=FeatureFolders(
                self._clips_dir, self.folder / "store" / feature.name, self.folder / feature.name
            ),
            options=BuildOptions(cluster=self._cluster, is_quiet=True),
            companions=companions,
        )
