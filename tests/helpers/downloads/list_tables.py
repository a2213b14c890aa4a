"""Tables of list-based datasets as plain rows, and the sizes of their splits."""

import pyarrow as pa

from pipeline.datasets import flickr, vggsound


def vgg_tables(lists_dir, cache_dir, *splits: str, **parameters) -> tuple[list[dict], list[dict]]:
    """Return clips and samples of some splits of VGG-Sound."""
    section = vggsound.Parameters(splits=splits, lists_dir=str(lists_dir), **parameters)
    clips, samples = vggsound.build_tables(section, cache_dir=cache_dir)
    return clips.to_pylist(), samples.to_pylist()


def flickr_tables(
    lists_dir, cache_dir, *splits: str, **parameters
) -> tuple[list[dict], list[dict]]:
    """Return clips and samples of some splits of Flickr-SoundNet."""
    section = flickr.Parameters(splits=splits, lists_dir=str(lists_dir), **parameters)
    clips, samples = flickr.build_tables(section, cache_dir=cache_dir)
    return clips.to_pylist(), samples.to_pylist()


def sizes_of(table: pa.Table) -> dict[str, int]:
    """Return the number of rows of each split."""
    sizes: dict[str, int] = {}
    for splits in table.column("splits").to_pylist():
        for name in splits:
            sizes[name] = sizes.get(name, 0) + 1
    return sizes
