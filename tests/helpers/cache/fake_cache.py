"""A feature cache over clips of text: build it, verify it, repair it, look into it."""

from pathlib import Path

from pipeline.features.feature import Feature
from pipeline.shards.build import BuildOptions, BuildReport, FeatureFolders, build_feature
from pipeline.shards.repair import RepairReport, repair_feature
from pipeline.shards.verify import Damage, verify_feature
from pipeline.shards.workers.cluster import ClusterParameters
from tests.helpers.cache import fake_features
from tests.helpers.cache.fake_features import make_feature

HERE = ClusterParameters(workers=0)
_OPTIONS = {"cluster": HERE, "is_quiet": True, "shard_samples": 8}

TEXTS = {f"clip{i:03d}": f"text {i}" for i in range(60)}


def folders_of(folder: Path, feature: Feature) -> FeatureFolders:
    """Return where ``build`` keeps a feature below ``folder``."""
    return FeatureFolders(
        clips_dir=folder / "clips",
        store_dir=folder / "store" / feature.name,
        output_dir=folder / feature.name,
    )


def build(
    folder, tables, *, feature=None, companions=(), extract=fake_features.extract, **options
) -> BuildReport:
    """Build a feature below ``folder``, in this process unless ``cluster`` says otherwise."""
    feature = feature or make_feature()
    samples, downloads = tables
    return build_feature(
        feature,
        samples=samples,
        downloads=downloads,
        folders=folders_of(folder, feature),
        options=BuildOptions(**(_OPTIONS | options)),
        companions=companions,
        extract=extract,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Return the names and bytes of all files of a folder."""
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"
    }


def touched(folder: Path) -> list[str]:
    """Return what was extracted since the last call."""
    path = folder / "touched.txt"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    path.write_text("")
    return sorted(lines)


def repair(
    folder, tables, damages, *, feature=None, extract=fake_features.extract, **options
) -> RepairReport:
    """Repair what ``build`` built."""
    feature = feature or make_feature()
    samples, downloads = tables
    return repair_feature(
        feature,
        damages,
        samples=samples,
        downloads=downloads,
        folders=folders_of(folder, feature),
        options=BuildOptions(**(_OPTIONS | options)),
        extract=extract,
    )


def check(folder) -> list[Damage]:
    """Verify the feature ``frames`` below ``folder``."""
    return verify_feature(folder / "frames", is_quiet=True)


def flip(path, place, bit=0):
    """Flip one bit in the file itself, whatever other names it has."""
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ (1 << bit)]))
