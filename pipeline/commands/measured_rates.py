"""Measure how fast this machine computes features, and how large they become, on a few samples."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ffmpeg
import pyarrow as pa

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


def choose_material(
    samples: pa.Table, downloads: pa.Table, clips_dir: Path, made_up_dir: Path
) -> Material:
    """Choose samples that are spread over the dataset, of clips that are here; else make a clip."""
    rows = downloads.to_pylist()
    # The table knows clips whose files `clips drop` has removed.
    here = {
        row["clip_id"]
        for row in rows
        if row["status"] == "ok" and (clips_dir / row["path"]).exists()
    }
    # A sample whose sound comes from another clip needs both.
    numbers = [
        number
        for number, (clip_id, sound_id) in enumerate(
            zip(samples["clip_id"].to_pylist(), samples["audio_clip_id"].to_pylist(), strict=True)
        )
        if clip_id in here and (sound_id is None or sound_id in here)
    ]
    if not numbers:
        return _make_up(made_up_dir)

    # Spread over the table, because neighbours are often clips of one video.
    step = max(len(numbers) / _NUM_SAMPLES, 1.0)
    chosen = [numbers[int(index * step)] for index in range(min(_NUM_SAMPLES, len(numbers)))]
    return Material(samples.take(pa.array(chosen, pa.int64())), downloads, clips_dir)


def measure_features(features: Mapping[str, Feature], material: Material) -> dict[str, Rate]:
    """Build features and variants of a few samples in a temporary folder, as their stages do.

    Features that share a pass over the video are measured together; the time of the pass counts for
    the first of them.

    Args:
        features: by name; the name of a variant is not that of its feature.
        material: what they are computed from.

    Returns:
        Rates by name.
    """
    # Features that are made of pictures share one pass, which decodes each clip once.
    shared = {
        name: feature
        for name, feature in features.items()
        if not is_variant(name) and FEATURES[name].is_image
    }
    groups = [shared] if shared else []
    groups += [{name: feature} for name, feature in features.items() if name not in shared]

    rates: dict[str, Rate] = {}
    for group in groups:
        # Once before: compiled code and the libraries are loaded then.
        _build(group, material, num_samples=1)
        rates |= _build(group, material, num_samples=material.samples.num_rows)
    return rates


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
        build_feature(
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
        seconds = (time.process_time() - start) / num_samples

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
