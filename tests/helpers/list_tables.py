"""Tables of small or published lists, as plain rows."""

from pipeline.datasets import flickr, vggsound


def vgg_tables(lists_dir, cache_dir, *splits, **parameters):
    parameters = vggsound.Parameters(splits=splits, lists_dir=str(lists_dir), **parameters)
    clips, samples = vggsound.build_tables(parameters, cache_dir=cache_dir)
    return clips.to_pylist(), samples.to_pylist()


def flickr_tables(lists_dir, cache_dir, *splits, **parameters):
    parameters = flickr.Parameters(splits=splits, lists_dir=str(lists_dir), **parameters)
    clips, samples = flickr.build_tables(parameters, cache_dir=cache_dir)
    return clips.to_pylist(), samples.to_pylist()


def sizes_of(table):
    sizes = {}
    for splits in table.column("splits").to_pylist():
        for name in splits:
            sizes[name] = sizes.get(name, 0) + 1
    return sizes
