"""Read the published lists of still pictures: boxes, names of files, and duets.

Boxes become shares of the frame that turn back into the published pixels of the 224 grid. A box
without area (AVSBench: nothing sounds in this frame) stays: such a sample scores 0, as in the
authors' code.
"""

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from earshot.errors import DataError, quote
from pipeline.lists.annotations import is_finite_number
from pipeline.lists.origins import encode_origins, find_video
from pipeline.lists.published_lists import decode_lines, iter_lines, read_json
from pipeline.lists.rows import Truth

GRID = 224
STACKED = "stacked"  # layout of a picture that is two pictures, one above the other


@dataclass(frozen=True)
class Entry:
    """One sample of a list, and the names of its files."""

    sample_id: str
    # Ends of paths in a release. Without a suffix, any suffix of pictures or sounds will do.
    images: tuple[str, ...]
    sounds: tuple[str, ...]
    truth: Truth
    masks: tuple[str, ...] = ()  # names that the mask can have
    attributes: Mapping[str, str] = field(default_factory=dict)


Read = Callable[[Sequence[Path]], list[Entry]]


def to_fraction(pixel: float) -> float:
    """Return the share of the frame that the ground truth turns back into this whole pixel."""
    share = pixel / GRID
    # The division may round down. The ground truth would then begin one pixel too early.
    while int(share * GRID) < int(pixel):
        share = math.nextafter(share, math.inf)
    return share


def read_pixel_boxes(
    paths: Sequence[Path], *, is_grouped: bool, prefix: str = "", has_videos: bool = False
) -> list[Entry]:
    """Read boxes of SSLalignment: JSON as published, or a CSV with image, audio, x1, y1, x2, y2.

    Args:
        paths: one file.
        is_grouped: rows whose names differ in their last ``_part`` are sounds of one picture.
        prefix: of the sample ids.
        has_videos: names of sounds begin with the id of a YouTube video (AVSBench).

    Raises:
        DataError: names the file, the row, and what is wrong.
    """
    (path,) = paths
    entries = []
    for where, row in _iter_box_rows(path):
        image, sound = (_shorten(str(row.get(name) or ""), where) for name in ("image", "audio"))
        box = [_read_pixel(value, where) for value in row["box"]]

        stem = PurePosixPath(image).stem
        picture, _, part = stem.rpartition("_")
        is_alone = PurePosixPath(sound).stem == stem
        # Samples of one picture, or of one sound, are not independent.
        attributes = {"recording": PurePosixPath(sound).stem}
        if is_grouped:
            attributes = {"picture": picture, "recording": picture}
        if has_videos:
            # Several clips can be of one video. Their seconds are not in the list.
            video = find_video(PurePosixPath(sound).stem)
            attributes |= {"recording": video, **encode_origins([video])}

        # AVSBench: five frames of one sound; the folder of single sources is the class.
        folders = PurePosixPath(image).parts[:-1]
        label = part if is_alone and is_grouped and not part.isdigit() else None
        label = folders[0] if len(folders) > 1 else label

        entries.append(
            Entry(
                prefix + stem,
                images=(image,),
                sounds=(sound,),
                truth=Truth(label, [tuple(map(to_fraction, box))], (0,)),
                # Masks have the name of the video with or without its suffix.
                masks=(stem, stem.replace(".mp4", "")),
                attributes=attributes,
            )
        )
    return entries


def _iter_box_rows(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    if path.suffix == ".csv":
        reader = csv.DictReader(decode_lines(path))
        try:
            for row in reader:
                values = [row.get(name) for name in ("x1", "y1", "x2", "y2")]
                yield f"{path}, line {reader.line_num}", {**row, "box": values}
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}") from None
        return

    for number, row in enumerate(_read_objects(path), start=1):
        where = f"{path}, entry {number}"
        box = row.get("gt_box")
        if not isinstance(box, list) or len(box) != 4:
            raise DataError(f"{where}: gt_box is {quote(str(box))}, expected x1, y1, x2, y2")
        yield where, {**row, "box": box}


def _read_objects(path: Path) -> list[dict[str, Any]]:
    rows = read_json(path)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected a list of objects")
    return rows


def _shorten(path: str, where: str) -> str:
    """Cut the authors' folders off: what is left is how a release names the file."""
    parts = PurePosixPath(path).parts
    for marker in ("test", "visual_frames", "audio_wav"):
        if marker in parts:
            # What is left lies behind the last folder of this name.
            parts = parts[len(parts) - parts[::-1].index(marker) :]

    if not parts or ".." in parts:
        raise DataError(f"{where}: file is {quote(path)}, expected the name of a file")
    return "/".join(parts[-3:])


def _read_pixel(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= GRID:
        raise DataError(f"{where}: box has {quote(str(value))}, expected pixels, 0 to {GRID}")
    return number


def read_music(paths: Sequence[Path]) -> list[Entry]:
    """Read boxes of MUSIC: x, y, **width and height**, as shares of the frame.

    AVGN's code reads them as two corners, so that half of the boxes of its duets are empty.

    Raises:
        DataError: names the file, the entry, and what is wrong.
    """
    (path,) = paths
    entries = []
    for number, row in enumerate(_read_objects(path), start=1):
        where = f"{path}, entry {number}"
        # A duet has the boxes of two sources.
        ends = ("_src1", "_src2") if "bbox_src1" in row else ("",)
        name = row.get("file")
        if not isinstance(name, str) or not name or "/" in name:
            raise DataError(f"{where}: file is {quote(str(name))}, expected a name")

        boxes = [_to_corners(row.get(f"bbox{end}"), where) for end in ends]
        labels = [str(row.get(f"class{end}")) for end in ends]

        # Frames of one video are not independent.
        attributes = {"recording": find_video(name), **encode_origins([find_video(name)])}
        if len(ends) > 1:
            # To which source each box belongs.
            attributes["box_sources"] = " ".join(map(str, range(len(ends))))

        entries.append(
            Entry(
                name,
                images=(name,),
                sounds=(name,),
                truth=Truth("+".join(labels), boxes, (0,) * len(boxes)),
                attributes=attributes,
            )
        )
    return entries


def _to_corners(box: Any, where: str) -> tuple[float, ...]:
    is_box = isinstance(box, list) and len(box) == 4 and all(map(is_finite_number, box))
    # Published numbers are rounded, so a sum can be a little more than 1.
    if not is_box or min(box) < 0 or box[0] + box[2] > 1.001 or box[1] + box[3] > 1.001:
        raise DataError(
            f"{where}: box is {quote(str(box))}, expected x, y, width and height, parts of the "
            "frame"
        )

    x, y, width, height = box
    return x, y, x + width, y + height


def read_names(paths: Sequence[Path]) -> list[Entry]:
    """Read a list of ``name,class``: samples whose ground truth is a mask (VGG-Instruments).

    Raises:
        DataError: names the file and the line.
    """
    (path,) = paths
    entries = []
    for number, text in iter_lines(path):
        name, _, label = text.partition(",")
        if not name or "/" in name or not label or "," in label:
            raise DataError(
                f"{path}, line {number}: found {quote(text)}, expected a name and a class"
            )
        entries.append(Entry(name, (name,), (name,), Truth(label), masks=(name,)))
    return entries


def read_duets(
    paths: Sequence[Path],
    *,
    boxes_of: Callable[[Path], Mapping[str, Truth]],
    is_apart: bool = False,
) -> list[Entry]:
    """Read pairs of clips, whose frames are stacked and whose sounds are added (AVGN).

    Args:
        paths: the list (clip, class, clip, class), and the boxes of all clips.
        boxes_of: reads the second file.
        is_apart: make two samples of a pair, each with the sound of one clip.

    Raises:
        DataError: names the file and the line.
    """
    path, boxes_path = paths
    truths = boxes_of(boxes_path)
    entries = []
    for number, text in iter_lines(path):
        where, fields = f"{path}, line {number}", text.split(",")
        if len(fields) != 4:
            raise DataError(f"{where}: found {quote(text)}, expected clip, class, clip, class")

        first, first_label, second, second_label = fields
        for clip_id in (first, second):
            if clip_id not in truths:
                raise DataError(f"{where}: clip {quote(clip_id)} has no boxes in {boxes_path.name}")

        boxes: list[tuple[float, ...]] = []
        sources: list[int] = []
        for source, clip_id in enumerate((first, second)):
            for x1, y1, x2, y2 in truths[clip_id].boxes:
                # A box that leaves its own picture must not reach into the other one.
                top, bottom = (min(max(y, 0.0), 1.0) for y in (y1, y2))
                boxes.append((x1, (source + top) / 2, x2, (source + bottom) / 2))
                sources.append(source)

        pair = f"{first}+{second}"
        attributes = {"layout": STACKED, **encode_origins((first, second))}
        if first_label == second_label:
            attributes["one_class"] = "true"
        whole = Entry(
            pair,
            images=(first, second),
            sounds=(first, second),
            truth=Truth(f"{first_label}+{second_label}", boxes, (0,) * len(boxes)),
            attributes={**attributes, "box_sources": " ".join(map(str, sources))},
        )
        if not is_apart:
            entries.append(whole)
            continue

        # Two sounds of one picture, as in IS3: each has the boxes of its own source alone.
        attributes |= {"picture": pair, "recording": pair}
        for number, label in enumerate((first_label, second_label)):
            own = [box for box, source in zip(boxes, sources, strict=True) if source == number]
            entries.append(
                replace(
                    whole,
                    sample_id=f"{pair}-{number}",
                    sounds=(whole.sounds[number],),
                    truth=Truth(label, own, (0,) * len(own)),
                    attributes={**attributes, "heard_source": str(number)},
                )
            )
    return entries
