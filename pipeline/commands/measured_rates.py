"""Measure how fast this machine computes features, and how large they become, on a few samples."""

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ffmpeg
import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import MediaError
from earshot.files import sha256_of
from earshot.tables import DOWNLOADS, SAMPLES
from pipeline.features.feature import Feature
from pipeline.features.registry import FEATURES, is_variant
from pipeline.media.files.ffmpeg import find_ffmpeg
from pipeline.media.validate import ValidationParameters, validate_clip
from pipeline.shards.build import BuildOptions, FeatureFolders, build_feature
from pipeline.shards.workers.cluster import ClusterParameters

_NUM_SAMPLES = 8
_MADE_UP_SECONDS = 10
_MADE_UP_SIZE = "640x360"


@dataclass(frozen=True)
class Material:
    """The samples on which rates are measured."""

    samples: pa.Table
    downloads: pa.Table
    clips_dir: Path
    is_made_up: bool = False  # no clip of the dataset is on this machine


@dataclass(frozen=True)
class Rate:
    """What one sample of a feature takes, or one clip."""

    seconds: float  # of one processor
    num_bytes: float


def choose_samples(samples: pa.Table, downloads: pa.Table, clips_dir: Path) -> pa.Table:
    """Choose a few samples that are spread over the dataset, of clips that are here.

    Args:
        samples: Table SAMPLES.
        downloads: Table DOWNLOADS; it knows clips whose files `clips drop` has removed.
        clips_dir: The folder of the clips.

    Returns:
        Rows of ``samples``; none where no clip is here.
    """
    files = pa.array(os.listdir(clips_dir) if clips_dir.is_dir() else [], pa.string())
    is_here = pc.and_(pc.equal(downloads["status"], "ok"), pc.is_in(downloads["path"], files))
    here = downloads["clip_id"].filter(is_here).combine_chunks()

    # A sample whose sound comes from another clip needs both.
    has_sound = pc.or_(
        pc.is_null(samples["audio_clip_id"]), pc.is_in(samples["audio_clip_id"], here)
    )
    is_usable = pc.and_(pc.is_in(samples["clip_id"], here), has_sound)
    numbers = pc.indices_nonzero(is_usable)

    # Spread over the table, because neighbours are often clips of one video.
    step = max(len(numbers) / _NUM_SAMPLES, 1.0)
    places = [int(index * step) for index in range(min(_NUM_SAMPLES, len(numbers)))]
    return samples.take(numbers.take(pa.array(places, pa.int64())))


def make_material(
    samples: pa.Table, downloads: pa.Table, clips_dir: Path, folder: Path
) -> Material:
    """Return chosen samples with their clips, or a clip that is made up if there are none.

    Args:
        samples: From ``choose_samples``.
        downloads: Table DOWNLOADS.
        clips_dir: The folder of the clips.
        folder: Where the clip is made, if it is.
    """
    if not samples.num_rows:
        return _make_up(folder)
    clip_ids = [*samples["clip_id"].to_pylist(), *samples["audio_clip_id"].to_pylist()]
    is_of_samples = pc.is_in(downloads["clip_id"], pa.array(clip_ids, pa.string()))
    return Material(samples, downloads.filter(is_of_samples), clips_dir)


def group_features(features: Mapping[str, Feature]) -> list[dict[str, Feature]]:
    """Group features that are measured together: those that share a pass over the video.

    Args:
        features: By name; the name of a variant is not that of its feature.
    """
    # Features that are made of pictures share one pass, which decodes each clip once.
    shared = {
        name: feature
        for name, feature in features.items()
        if not is_variant(name) and FEATURES[name].is_image
    }
    groups = [shared] if shared else []
    return [*groups, *({name: feature} for name, feature in features.items() if name not in shared)]


def measure_features(group: Mapping[str, Feature], material: Material) -> dict[str, Rate]:
    """Build features of a few samples in a temporary folder, as their stages do.

    Args:
        group: One of ``group_features``. The time of their pass counts for the first one.
        material: What they are computed from.

    Returns:
        Rates by name; none where no sample could be computed, for example if the clips are mute.
    """
    # What a stage says of its progress says nothing here.
    with contextlib.redirect_stderr(io.StringIO()):
        # Once before: compiled code and the libraries are loaded then.
        _build(group, material, num_samples=1)
        return _build(group, material, num_samples=material.samples.num_rows)


def build_samples(feature: Feature, material: Material, folder: Path) -> None:
    """Compute a feature of the samples.

    Args:
        feature: What is computed.
        material: The samples.
        folder: In its folder ``out`` is then one of the feature's name, with the arrays.
    """
    folders = FeatureFolders(material.clips_dir, folder / "store", folder / "out" / feature.name)
    build_feature(
        feature,
        samples=material.samples,
        downloads=material.downloads,
        folders=folders,
        options=BuildOptions(ClusterParameters(workers=0), is_quiet=True),
    )


def measure_checks(material: Material, validation: ValidationParameters) -> float:
    """Return the seconds that checking one clip takes."""
    paths = {row["clip_id"]: row["path"] for row in material.downloads.to_pylist()}
    clip_ids = dict.fromkeys(material.samples["clip_id"].to_pylist())

    # CPU time, so that other programs on this machine do not count.
    start = time.process_time()
    for clip_id in clip_ids:
        try:
            validate_clip(
                material.clips_dir / paths[clip_id],
                wanted_seconds=None,
                parameters=validation,
                needs_sound=False,
            )
        except MediaError:
            # Finding the damage took its time, too.
            continue
    return (time.process_time() - start) / len(clip_ids)


def _build(
    group: Mapping[str, Feature], material: Material, *, num_samples: int
) -> dict[str, Rate]:
    first, *companions = group.values()
    with tempfile.TemporaryDirectory(prefix="earshot-plan-") as name:
        store_dir = Path(name, "store")
        start = time.process_time()
        report = build_feature(
            first,
            samples=material.samples.slice(0, num_samples),
            downloads=material.downloads,
            folders=FeatureFolders(
                material.clips_dir, store_dir / first.name, Path(name, "out", first.name)
            ),
            # Without workers, because `process_time` does not see other processes.
            options=BuildOptions(ClusterParameters(workers=0), is_quiet=True),
            companions=companions,
        )
        # Those that fail cost time as well, but all of them would say nothing of the others.
        seconds = (time.process_time() - start) / num_samples
        if not report.ok:
            return {}

        rates = {}
        for number, (variant, feature) in enumerate(group.items()):
            # The first feature carries the time of the shared pass, the others their bytes only.
            paths = (store_dir / feature.name).glob("*.h5")
            num_bytes = sum(path.stat().st_size for path in paths) / num_samples
            rates[variant] = Rate(seconds if number == 0 else 0.0, num_bytes)
        return rates


def _make_up(folder: Path) -> Material:
    """Make a clip as sites send them: 10 s, 360 lines, H.264 and AAC."""
    path = folder / "clip.mp4"
    seconds = _MADE_UP_SECONDS
    picture = ffmpeg.input(f"testsrc2=s={_MADE_UP_SIZE}:r=25:d={seconds}", format="lavfi")
    # Plain test pictures compress too well: decoding them is faster than decoding a film.
    picture = picture.filter("noise", alls=20, allf="t")
    sound = ffmpeg.input(f"anoisesrc=d={seconds}:r=44100:a=0.2", format="lavfi")
    output = ffmpeg.output(
        picture, sound, str(path), vcodec="libx264", preset="fast", acodec="aac", pix_fmt="yuv420p"
    )
    output.run(cmd=str(find_ffmpeg()), quiet=True, overwrite_output=True)

    samples = [
        {"sample_id": f"s{number}", "clip_id": "clip", "time_seconds": time_seconds}
        for number, time_seconds in enumerate((2.0, 4.0, 6.0, 8.0))
    ]
    row: dict[str, object] = {
        "clip_id": "clip",
        "status": "ok",
        "path": path.name,
        "sha256": sha256_of(path),
    }
    row["bytes"], row["duration_seconds"] = path.stat().st_size, float(seconds)
    tables = (
        pa.Table.from_pylist(samples, schema=SAMPLES.columns),
        pa.Table.from_pylist([row], schema=DOWNLOADS.columns),
    )
    return Material(*tables, folder, is_made_up=True)
