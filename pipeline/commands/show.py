"""``show``: draw one picture of a sample, with its features, its maps and where it comes from."""

import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from earshot import tables
from earshot.errors import DataError, ParameterError
from earshot.reader import FeatureReader
from pipeline.base.project import Project
from pipeline.commands.options import FILE, IdCommand, one_dataset_option, pass_project
from pipeline.commands.output import choose_output, write_output
from pipeline.commands.sample_search import find_sample
from pipeline.features import pictures
from pipeline.features.registry import FEATURES, Kind
from pipeline.features.sheets import Panel, compose_sheet
from pipeline.lists.masks import ATTRIBUTE, decode_mask

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")  # in the name of a file
# What NumPy raises for a file that was cut off or damaged, is a single array, or lacks maps.
_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)
_GREY_FRAME = np.full((246, 328, 3), 128, np.uint8)  # behind a map whose frame is not cached


@click.command(cls=IdCommand)
@click.argument("words", nargs=-1, metavar="SAMPLE")
@click.option("--sample", metavar="ID", help="the same as SAMPLE")
@one_dataset_option(help="where to look (default: every dataset of params.yaml)")
@click.option(
    "--output",
    type=FILE,
    help="the picture, .png, .jpg or .webp, or a folder (default: show_SAMPLE.png, here)",
)
@click.option(
    "--map",
    "models",
    multiple=True,
    metavar="MODEL",
    help="also draw the map of this model; `all`: of all models with maps (can be repeated)",
)
@pass_project
def run(
    project: Project,
    words: tuple[str, ...],
    sample: str | None,
    dataset: str | None,
    output: Path | None,
    models: tuple[str, ...],
) -> int:
    """Draw the sample, print what the picture says, and where the picture is."""
    sample_id = _choose_sample_id([*words, *([] if sample is None else [sample])])

    # Ids can be long and can hold slashes, which file names cannot.
    output_path = choose_output(output, f"show_{_UNSAFE.sub('_', sample_id)[:120]}.png")
    if output_path.suffix not in (".png", ".jpg", ".webp"):
        raise ParameterError(
            f"--output {output_path}: ends in {output_path.suffix!r}, expected .png, .jpg or .webp"
        )

    name, row = find_sample(project, sample_id, dataset)
    lines = describe_sample(project, name, row)
    panels = draw_panels(project, name, row, models=models)
    sheet = compose_sheet(f"{sample_id} \N{MIDDLE DOT} {name}", lines, panels)

    write_output(output_path, pictures.encode(sheet, output_path.suffix, quality=90))

    for line in lines:
        print(line)
    for panel in panels:
        if panel.picture is None:
            print(f"{panel.title}: {panel.caption}")
    print(f"picture: {output_path}")
    return 0


def _choose_sample_id(given: Sequence[str]) -> str:
    if len(given) != 1 or not given[0]:
        raise ParameterError(
            f"show: {len(given)} sample ids given, expected one (`show SAMPLE` or "
            "`show -- -SAMPLE`)"
        )
    return given[0]


def describe_sample(project: Project, dataset: str, sample: Mapping[str, Any]) -> list[str]:
    """Describe in a few lines where a sample comes from.

    Args:
        project: The checkout.
        dataset: The sample's dataset.
        sample: Its row of the samples table.

    Returns:
        Lines about its clip, time and splits; its label and attributes; the video; the media file,
        or why there is none.
    """
    clip_id = sample["clip_id"]
    moment = "the centre" if sample["time_seconds"] is None else f"{sample['time_seconds']:g} s"
    splits = ", ".join(sample["splits"] or []) or "none"
    lines = [f"clip {clip_id}, at {moment} of its file; splits: {splits}"]

    attributes = dict(sample["attributes"] or [])
    mask = _read_mask(sample)
    if mask is not None:
        attributes[ATTRIBUTE] = f"{mask.mean():.1%} of the frame"
    facts = [f"{name}: {value}" for name, value in attributes.items()]
    if sample["label"]:
        facts.insert(0, f"label: {sample['label']}")
    if sample["audio_clip_id"]:
        facts.append(f"sound from clip {sample['audio_clip_id']}")
    if facts:
        lines.append("; ".join(facts))

    # A copy of the cache can lack the table of clips. Its line is left out then.
    clip = _read_clip_row(project.clips_table_path(dataset), tables.CLIPS, clip_id)
    if clip is not None:
        # Without times the clip is the whole video.
        section = ""
        if clip["start_seconds"] is not None and clip["end_seconds"] is not None:
            section = f", {clip['start_seconds']:g} to {clip['end_seconds']:g} s"
        lines.append(f"from {clip['url']}{section}")

    download = _read_clip_row(project.downloads_table_path(dataset), tables.DOWNLOADS, clip_id)
    return [*lines, _describe_download(download)]


def _read_mask(sample: Mapping[str, Any]) -> np.ndarray | None:
    text = dict(sample["attributes"] or []).get(ATTRIBUTE)
    return None if text is None else decode_mask(text, where=f"sample {sample['sample_id']}")


def _describe_download(download: Mapping[str, Any] | None) -> str:
    if download is None:
        return "download: not attempted yet"
    if download["status"] != "ok":
        detail = download["detail"] or "no details"
        return f"download: {download['status']}, {download['reason']}: {detail}"

    # A container need not tell everything: unknown facts are null and are left out.
    duration = download["duration_seconds"]
    facts = [
        download["path"],
        _describe_size(download),
        download["video_codec"],
        download["audio_codec"],
        None if duration is None else f"{duration:.2f} s",
        *(download["flags"] or []),
    ]
    return "file: " + ", ".join(str(fact) for fact in facts if fact)


def _describe_size(download: Mapping[str, Any]) -> str | None:
    if not download["width"] or not download["height"]:
        return None
    rate = f" at {download['fps']:.3g} fps" if download["fps"] else ""
    return f"{download['width']} x {download['height']}{rate}"


def draw_panels(
    project: Project, dataset: str, sample: Mapping[str, Any], *, models: Sequence[str]
) -> list[Panel]:
    """Draw the panels of the picture: the features with a title, then the maps.

    Args:
        project: The checkout.
        dataset: The sample's dataset.
        sample: Its row of the samples table.
        models: Names of models whose maps are drawn; ``all`` is every model with maps.

    Returns:
        The panels. A feature that is not cached has a panel without a picture, with the reason.

    Raises:
        DataError: A model has no maps of the dataset.
    """
    # The frame keeps its array: maps are drawn over it below.
    sample_id, boxes = sample["sample_id"], sample["boxes"] or []
    panels: list[Panel] = []
    arrays: dict[str, np.ndarray | None] = {}
    for name, feature in FEATURES.items():
        # Waveforms and detections have no picture.
        if feature.title is None:
            continue
        array, reason = _read_feature(project, dataset, name, sample_id)
        arrays[name] = array
        if array is None:
            panels.append(_panel(feature.title, None, reason))
        elif feature.kind == "picture":
            panels.append(_panel(feature.title, *_draw_truth(array, sample)))
        else:
            panels.append(_panel(feature.title, *_draw_array(array, feature.kind)))

    frame = arrays.get("frames")
    for model in _expand_models(project, dataset, models):
        panels.append(_draw_map(project, dataset, model, sample_id, frame, boxes))
    return panels


def _draw_truth(frame: np.ndarray, sample: Mapping[str, Any]) -> tuple[np.ndarray, str]:
    """Return a frame with the boxes of what sounds, or else with its mask; and a caption."""
    boxes, mask = sample["boxes"] or [], _read_mask(sample)
    if boxes:
        counted = f"{len(boxes)} {'box' if len(boxes) == 1 else 'boxes'} of what sounds"
        return pictures.draw_boxes(frame, boxes), counted
    if mask is not None:
        return pictures.draw_mask(frame, mask), "mask of what sounds"
    return frame, "no boxes known"


def _draw_map(
    project: Project,
    dataset: str,
    model: str,
    sample_id: str,
    frame: np.ndarray | None,
    boxes: Sequence[Sequence[float]],
) -> Panel:
    path = project.maps_path(dataset, model)
    # One file holds the maps of all samples, in the order of its `sample_ids`.
    try:
        with np.load(path, allow_pickle=False) as archive:
            rows = np.flatnonzero(archive["sample_ids"] == sample_id)
            if not len(rows):
                return _panel(f"Map of {model}", None, "this sample is not among its maps")
            localization_map = archive["maps"][rows[0]]
    except FileNotFoundError:
        # A model without a file is often a mistyped name: list those that have one.
        known = _expand_models(project, dataset, ["all"])
        remedy = "run `dvc repro evaluate` first"
        if known:
            remedy = f"maps of {dataset} are there from {', '.join(known)}"
        raise DataError(f"{path.relative_to(project.root)}: not found; {remedy}") from None
    except _DAMAGE as error:
        raise DataError(f"{path}: not an .npz with sample_ids and maps: {error}") from None

    # The map is enlarged to the frame; the caption tells its own size and range.
    behind = _GREY_FRAME if frame is None else frame
    picture = pictures.draw_boxes(pictures.overlay_map(behind, localization_map), boxes)
    height, width = localization_map.shape
    values = "no value is a number"
    if not np.isnan(localization_map).all():
        low, high = float(np.nanmin(localization_map)), float(np.nanmax(localization_map))
        values = f"values {low:.3g} to {high:.3g}"
    return _panel(f"Map of {model}", picture, f"{height} x {width}, {values}")


def _expand_models(project: Project, dataset: str, models: Sequence[str]) -> list[str]:
    """Replace ``all`` by the names of all models with maps of the dataset."""
    if "all" not in models:
        return list(models)
    folder = project.maps_dir(dataset)
    # A name that begins with a dot is that of an unfinished file.
    return sorted(path.stem for path in folder.glob("*.npz") if not path.name.startswith("."))


def _read_feature(
    project: Project, dataset: str, feature: str, sample_id: str
) -> tuple[np.ndarray | None, str | None]:
    """Return the array, or None and the reason why there is none."""
    folder = project.feature_dir(dataset, feature)
    if not (folder / "index.parquet").exists():
        return None, f"not cached yet: run `dvc repro {feature}@{dataset}`"

    # Damage becomes a caption, because the other panels are still worth a look.
    try:
        with FeatureReader(folder) as reader:
            if sample_id in reader:
                return np.asarray(reader.read(sample_id)), None
            return None, f"none: {reader.reason(sample_id)}"
    except DataError as error:
        return None, str(error)


def _draw_array(array: np.ndarray, kind: Kind) -> tuple[np.ndarray, str]:
    """Return the picture of a flow or a spectrogram, and its caption."""
    if kind == "motion":
        picture, full_scale = pictures.colour_flow(array)
        caption = f"hue: direction (wheel); full colour: {full_scale:.1f} px or more"
        return _with_wheel(picture), caption

    shape = " x ".join(map(str, array.shape))
    return pictures.colour_spectrogram(array), f"{shape}; time to the right, frequency up"


def _with_wheel(picture: np.ndarray) -> np.ndarray:
    """Scale a picture of flow to a panel, with the colour wheel in its lower right corner."""
    picture = pictures.fit(picture, max_width=400, max_height=300).copy()
    # Small pictures get a smaller wheel, which still fits into them.
    wheel = pictures.draw_colour_wheel(min(56, *picture.shape[:2]))
    picture[-wheel.shape[0] :, -wheel.shape[1] :] = wheel
    return picture


def _panel(title: str, picture: np.ndarray | None, caption: str | None) -> Panel:
    return Panel(title, picture, caption or "")


def _read_clip_row(path: Path, schema: tables.Schema, clip_id: str) -> dict[str, Any] | None:
    """Return a clip's row of a table; None if there is no table or no such row."""
    if not path.exists():
        return None
    table = tables.read_table(path, schema)
    ids = table["clip_id"].to_pylist()
    return table.slice(ids.index(clip_id), 1).to_pylist()[0] if clip_id in ids else None
