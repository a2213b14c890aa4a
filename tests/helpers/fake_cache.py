"""A feature cache over clips of text: build, verify and repair it, and look into it."""

from pathlib import Path

from pipeline.shards.build import build_feature
from pipeline.shards.cluster import ClusterParameters
from pipeline.shards.repair import repair_feature
from pipeline.shards.verify import verify_feature
from tests.helpers import fake_features
from tests.helpers.fake_features import make_feature

HERE = ClusterParameters(workers=0)


TEXTS = {f"clip{i:03d}": f"text {i}" for i in range(60)}


def build(folder, tables, *, feature=None, **options):
    """``build_feature`` below ``folder``, in this process unless told otherwise."""
    feature = feature or make_feature()
    samples, downloads = tables
    options = {
        "cluster": HERE,
        "extract": fake_features.extract,
        "is_quiet": True,
        "shard_samples": 8,
    } | options
    return build_feature(
        feature,
        samples=samples,
        downloads=downloads,
        clips_dir=folder / "clips",
        store_dir=folder / "store" / feature.name,
        output_dir=folder / feature.name,
        **options,
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Names and bytes of all files of a folder."""
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"
    }


def touched(folder: Path) -> list[str]:
    """What the extractor has been asked for since the last look."""
    path = folder / "touched.txt"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    path.write_text("")
    return sorted(lines)


def repair(folder, tables, damages, *, feature=None, **options):
    feature = feature or make_feature()
    return repair_feature(
        feature,
        damages,
        samples=tables[0],
        downloads=tables[1],
        clips_dir=folder / "clips",
        store_dir=folder / "store" / feature.name,
        output_dir=folder / feature.name,
        **(
            {
                "cluster": HERE,
                "is_quiet": True,
                "extract": fake_features.extract,
                "shard_samples": 8,
            }
            | options
        ),
    )


def check(folder):
    return verify_feature(folder / "frames", is_quiet=True)


def flip(path, place, bit=0):
    """Flip one bit in the file itself, whatever other names it has."""
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ (1 << bit)]))
