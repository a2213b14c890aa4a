"""``show``: one picture of a sample: frame with boxes, flow, spectrogram, maps, and where it comes from."""

import difflib
import re
from pathlib import Path

import numpy as np

from earshot import tables
from earshot.errors import DataError, ParameterError
from earshot.files import publish_bytes
from earshot.reader import FeatureReader
from pipeline.base.project import Project
from pipeline.features import pictures
from pipeline.features.registry import FEATURES, Kind

HELP = (
    "draw one picture of a sample: frame with boxes, flow, spectrogram, maps, where it comes from"
)
_NUM_NEAR = 5
_SAFE = re.compile(r"[^A-Za-z0-9_-]+")


def add_arguments(parser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="SAMPLE", help="its id; one that begins with - goes behind --"
    )
    parser.add_argument("--sample", help="the same, for ids that begin with -: --sample=-ID")
    parser.add_argument("--dataset", help="where to look (default: every dataset of params.yaml)")
    parser.add_argument(
        "--output", type=Path, help="the picture, .png, .jpg or .webp (default: show_SAMPLE.png)"
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="MODEL",
        help="also draw the map of this model, `all` for all that `evaluate` left (can be repeated)",
    )


def run(arguments, project: Project) -> int:
    """Draw the sample, print what the picture says, and where the picture is."""
    sample_id = _sample_id(arguments)
    output_path = arguments.output or Path(f"show_{_SAFE.sub('_', sample_id)[:120]}.png")
    if output_path.suffix not in (".png", ".jpg", ".webp"):
        raise ParameterError(
            f"--output {output_path}: ends in {output_path.suffix!r}, expected .png, .jpg or .webp"
        )
    dataset, sample = find_sample(project, sample_id, arguments.dataset)
    lines = describe_sample(project, dataset, sample)
    panels = draw_panels(project, dataset, sample, models=arguments.map)
    sheet = pictures.compose_sheet(f"{sample_id} \N{MIDDLE DOT} {dataset}", lines, panels)
    try:
        publish_bytes(output_path, pictures.encode(sheet, output_path.suffix, quality=90))
    except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ParameterError(
            f"--output {output_path}: no file can be made there: {error.strerror}"
        ) from None
    for line in lines:
        print(line)
    for panel in panels:
        if panel.picture is None:
            print(f"{panel.title}: {panel.caption}")
    print(f"picture: {output_path}")
    return 0


def find_sample(project: Project, sample_id: str, dataset: str | None = None) -> tuple[str, dict]:
    """The dataset that has ``sample_id`` and its row of the samples table.

    An unknown id is refused with the nearest known ones, an id in several datasets with their names. A clip's id is
    taken for its only sample.
    """
    names = [dataset] if dataset is not None else project.datasets
    if dataset is not None and not project.samples_table_path(dataset).exists():
        known = sorted(
            path.parent.name for path in (project.root / "manifests").glob("*/samples.parquet")
        )
        raise DataError(
            f"dataset {dataset}: manifests/{dataset}/samples.parquet is not there; "
            + (
                f"there are {', '.join(known)}"
                if known
                else "no dataset has been listed: run `dvc repro` first"
            )
        )
    found, known_ids, unlisted = [], [], []
    for name in names:
        if not project.samples_table_path(name).exists():
            unlisted.append(name)
            continue
        ids = tables.read_table(
            project.samples_table_path(name), tables.SAMPLES, columns=["sample_id", "clip_id"]
        )
        sample_ids, clip_ids = ids["sample_id"].to_pylist(), ids["clip_id"].to_pylist()
        rows = [row for row, known in enumerate(sample_ids) if known == sample_id]
        if not rows:
            rows = [row for row, clip_id in enumerate(clip_ids) if clip_id == sample_id]
            if len(rows) > 1:
                raise DataError(
                    f"{sample_id} is a clip of {name} with {len(rows)} samples, expected a sample: "
                    f"{_join_some([sample_ids[row] for row in rows])}"
                )
        found += [(name, row) for row in rows[:1]]
        known_ids += sample_ids
    if len(found) > 1:
        raise DataError(
            f"sample {sample_id} is in {' and '.join(name for name, _ in found)}: choose with --dataset"
        )
    if not found:
        where = " and ".join(name for name in names if name not in unlisted) or "any dataset"
        near = difflib.get_close_matches(sample_id, known_ids, n=_NUM_NEAR, cutoff=0.6)
        hint = (
            f"near matches: {', '.join(near)}"
            if near
            else f"there are {len(known_ids)} samples, {_join_some(known_ids)}"
        )
        if not known_ids:
            hint = "no sample has been listed: run `dvc repro` first"
        raise DataError(f"no sample {sample_id!r} in {where}; {hint}")
    name, row = found[0]
    table = tables.read_table(project.samples_table_path(name), tables.SAMPLES)
    return name, table.slice(row, 1).to_pylist()[0]


def describe_sample(project: Project, dataset: str, sample: dict) -> list[str]:
    """Where the sample comes from: its clip, moment, splits, label, media file and the account of its download."""
    clip = _row_of(project.clips_table_path(dataset), tables.CLIPS, sample["clip_id"])
    download = _row_of(project.downloads_table_path(dataset), tables.DOWNLOADS, sample["clip_id"])
    moment = "the centre" if sample["time_seconds"] is None else f"{sample['time_seconds']:g} s"
    lines = [
        f"clip {sample['clip_id']}, at {moment} of its file; splits: {', '.join(sample['splits'] or []) or 'none'}"
    ]
    facts = [f"{name}: {value}" for name, value in dict(sample["attributes"] or []).items()]
    if sample["label"]:
        facts.insert(0, f"label: {sample['label']}")
    if sample["audio_clip_id"]:
        facts.append(f"sound from clip {sample['audio_clip_id']}")
    if facts:
        lines.append("; ".join(facts))
    if clip is not None:
        section = ""
        if clip["start_seconds"] is not None and clip["end_seconds"] is not None:
            section = f", {clip['start_seconds']:g} to {clip['end_seconds']:g} s"
        lines.append(f"from {clip['url']}{section}")
    if download is None:
        lines.append("download: not attempted yet")
    elif download["status"] != "ok":
        lines.append(
            f"download: {download['status']}, {download['reason']}: {download['detail'] or 'no details'}"
        )
    else:
        parts = [
            download["path"],
            _size_text(download),
            download["video_codec"],
            download["audio_codec"],
        ]
        parts += (
            [f"{download['duration_seconds']:.2f} s"]
            if download["duration_seconds"] is not None
            else []
        )
        parts += download["flags"] or []
        lines.append("file: " + ", ".join(str(part) for part in parts if part))
    return lines


def draw_panels(
    project: Project, dataset: str, sample: dict, *, models: list[str]
) -> list[pictures.Panel]:
    """The panels of the sheet; a feature that is not there is a panel with its reason."""
    sample_id, boxes = sample["sample_id"], sample["boxes"] or []
    panels, arrays = [], {}
    for name, feature in FEATURES.items():
        if feature.title is None:
            continue
        array, why = _read_feature(project, dataset, name, sample_id)
        arrays[name] = array
        if array is None:
            panels.append(_panel(feature.title, None, why))
        elif feature.kind == "picture":
            counted = f"{len(boxes)} {'box' if len(boxes) == 1 else 'boxes'} of what sounds"
            picture = pictures.draw_boxes(array, boxes)
            panels.append(_panel(feature.title, picture, counted if boxes else "no boxes known"))
        else:
            panels.append(_panel(feature.title, *_draw_array(array, feature.kind)))

    frame = arrays.get("frames")
    for model in _expand_models(project, dataset, models):
        panels.append(_draw_map(project, dataset, model, sample_id, frame, boxes))
    return panels


def _sample_id(arguments) -> str:
    given = [*arguments.words, *([arguments.sample] if arguments.sample is not None else [])]
    if len(given) != 1 or not given[0]:
        raise ParameterError(
            f"show: {len(given)} sample ids given, expected one (`show SAMPLE` or `show -- -SAMPLE`)"
        )
    return given[0]


def _draw_map(
    project: Project, dataset: str, model: str, sample_id: str, frame, boxes
) -> pictures.Panel:
    path = project.maps_path(dataset, model)
    try:
        with np.load(path, allow_pickle=False) as archive:
            rows = np.flatnonzero(archive["sample_ids"] == sample_id)
            if not len(rows):
                return _panel(f"Map of {model}", None, "this sample is not among its maps")
            localization_map = archive["maps"][rows[0]]
    except FileNotFoundError:
        known = _expand_models(project, dataset, ["all"])
        there = (
            f"maps of {dataset} are there from {', '.join(known)}"
            if known
            else "run `dvc repro evaluate` first"
        )
        raise DataError(f"{path.relative_to(project.root)}: not found; {there}") from None
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not an .npz with sample_ids and maps: {error}") from None
    if frame is None:
        frame = np.full((246, 328, 3), 128, np.uint8)
    picture = pictures.draw_boxes(pictures.overlay_map(frame, localization_map), boxes)
    height, width = localization_map.shape
    low, high = float(np.nanmin(localization_map)), float(np.nanmax(localization_map))
    return _panel(f"Map of {model}", picture, f"{height} x {width}, values {low:.3g} to {high:.3g}")


def _expand_models(project: Project, dataset: str, models: list[str]) -> list[str]:
    if "all" not in models:
        return models
    folder = project.maps_dir(dataset)
    return sorted(path.stem for path in folder.glob("*.npz") if not path.name.startswith("."))


def _read_feature(
    project: Project, dataset: str, feature: str, sample_id: str
) -> tuple[np.ndarray | None, str | None]:
    """The array, or None and why there is none."""
    folder = project.feature_dir(dataset, feature)
    if not (folder / "index.parquet").exists():
        return None, f"not cached yet: run `dvc repro {feature}@{dataset}`"
    with FeatureReader(folder) as reader:
        try:
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
    """The flow picture at the size of a panel, with the colour wheel in its lower right corner."""
    picture = pictures.fit(picture, max_width=400, max_height=300).copy()
    wheel = pictures.draw_colour_wheel(min(56, *picture.shape[:2]))
    picture[-wheel.shape[0] :, -wheel.shape[1] :] = wheel
    return picture


def _panel(title: str, picture: np.ndarray | None, caption: str | None) -> pictures.Panel:
    return pictures.Panel(title, picture, caption or "")


def _row_of(path: Path, schema: tables.Schema, clip_id: str) -> dict | None:
    if not path.exists():
        return None
    table = tables.read_table(path, schema)
    ids = table["clip_id"].to_pylist()
    return table.slice(ids.index(clip_id), 1).to_pylist()[0] if clip_id in ids else None


def _size_text(download: dict) -> str | None:
    if not download["width"] or not download["height"]:
        return None
    rate = f" at {download['fps']:.3g} fps" if download["fps"] else ""
    return f"{download['width']} x {download['height']}{rate}"


def _join_some(ids: list[str]) -> str:
    shown = ", ".join(ids[:_NUM_NEAR])
    return f"for example {shown}" if len(ids) > _NUM_NEAR else shown
