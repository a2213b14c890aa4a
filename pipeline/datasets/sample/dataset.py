"""The embedded dataset ``sample``: clips rendered here, so that everything runs without a download.

The rendered files lie in ``cache/sample/remote/``, which plays the part of the internet: the
download stage fetches them through ``file://`` URLs like any others. The list also holds what real
lists hold: removed, truncated, mute, picture-less and too short clips, and a duplicate (see
``entries.BROKEN``).
"""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from earshot.tables import CLIPS, SAMPLES
from pipeline.datasets.dataset import Attribute, Dataset, Source, TestSet
from pipeline.datasets.sample.entries import (
    TOO_SHORT_SECONDS,
    Entry,
    Parameters,
    file_name,
    list_entries,
)
from pipeline.datasets.sample.remote import render_all
from pipeline.datasets.sample.rendering import SceneRenderer
from pipeline.lists.rows import Truth, make_file_clip, make_sample_row
from pipeline.lists.selection import Chooser

_SPLITS = (
    *("train", "val", "test", "single", "traffic"),
    *("final", "final_single", "final_traffic"),
)
_SMALL, _MEDIUM = 0.06, 0.12  # upper limits of a source's area, as a part of the frame


def build_tables(parameters: Parameters, *, cache_dir: Path) -> tuple[pa.Table, pa.Table]:
    """Render missing clips into ``cache_dir/remote``; return CLIPS and SAMPLES."""
    remote_dir = Path(cache_dir).resolve() / "remote"
    entries = list_entries(parameters)

    chooser = Chooser(parameters)
    used = chooser.choose_splits({entry.clip_id: entry.splits for entry in entries})
    entries = [
        replace(entry, splits=tuple(used[entry.clip_id]))
        for entry in entries
        if entry.clip_id in used
    ]
    render_all(entries, parameters, remote_dir)

    clips = [
        make_file_clip(entry.clip_id, remote_dir / file_name(entry, parameters), entry.splits)
        for entry in entries
    ]
    samples = [_sample_row(entry) for entry in entries]
    return (
        chooser.finish(pa.Table.from_pylist(clips, schema=CLIPS.columns)),
        pa.Table.from_pylist(samples, schema=SAMPLES.columns),
    )


def _find_splits(parameters: Parameters) -> tuple[str, ...]:
    """Return the splits; a test split without clips is none, as the evaluation takes it."""
    numbers = {
        "single": parameters.num_single,
        "traffic": parameters.num_traffic,
        "test": parameters.num_single + parameters.num_traffic,
        **dict.fromkeys(("final", "final_single", "final_traffic"), parameters.num_final),
    }
    return tuple(name for name in _SPLITS if numbers.get(name, 1))


def _sample_row(entry: Entry) -> dict:
    scene = entry.scene
    # A clip that is too short ends before the scene's moment, so take its own centre.
    time_seconds = scene.time_seconds if entry.defect != "too_short" else TOO_SHORT_SECONDS / 2
    sources = [actor for actor in scene.actors if actor.is_sounding]
    boxes = SceneRenderer(scene).boxes(time_seconds)

    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes]
    mean_area = sum(areas) / len(areas)
    size = "small" if mean_area < _SMALL else "medium" if mean_area < _MEDIUM else "large"

    # Sorted: the same classes must give the same label.
    label = "+".join(sorted(actor.class_name for actor in sources))
    return make_sample_row(
        entry.clip_id,
        entry.clip_id,
        time_seconds=time_seconds,
        splits=entry.splits,
        truth=Truth.of_one(label, boxes),
        attributes=[
            ("subset", scene.kind),
            ("source_is_moving", str(all(actor.is_moving for actor in sources)).lower()),
            ("num_objects", str(len(scene.actors))),
            ("num_sounding", str(len(sources))),
            ("object_size", size),
        ],
    )


DATASET = Dataset(
    name="sample",
    lists_media=True,
    parameters=Parameters,
    build_tables=build_tables,
    box_rule="union",
    find_splits=_find_splits,
    test_splits=frozenset({"single", "traffic", "final", "final_single", "final_traffic"}),
    test_sets=(
        TestSet("sample", "sample", "test", 0, "rendered on this machine: both subsets below"),
        TestSet("sample_single", "sample", "single", 0, "one source, still background"),
        TestSet(
            "sample_traffic",
            "sample",
            "traffic",
            0,
            "several objects of which one or two sound, parked look-alikes",
        ),
        TestSet("sample_final", "sample", "final", 0, "of both kinds; nothing was chosen on them"),
    ),
    sources=(
        Source(
            "scenes and sounds that Earshot renders from a seed",
            "https://www.apache.org/licenses/LICENSE-2.0",
            "Apache-2.0, as the code that renders them",
        ),
    ),
    attributes={
        "source_is_moving": Attribute(
            {"true": "the source moves", "false": "the source stands still"},
            breakdown="motion",
            groups={"true": "moving", "false": "still"},
        ),
        "num_objects": Attribute({"1": "1 object", None: "{} objects"}),
        "num_sounding": Attribute({None: "{} sounding"}),
        "object_size": Attribute({None: "{} source"}),
    },
)
