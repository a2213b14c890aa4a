"""Read annotations as their authors published them.

They are VGG-SS's JSON, Flickr's XML, and the table of frames of Hear The Flow (HTF). Values are
kept as published: a box outside of the picture stays as it is, and the protocol decides what to do
with it. A file with another format is an error that names file, entry and reason.
"""

import hashlib
import json
import pickle
import pickletools
import re
import reprlib
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

from earshot.errors import DataError, quote
from pipeline.lists.published_lists import read_json
from pipeline.lists.rows import Truth

FLICKR_GRID = 256  # boxes of the Flickr annotations are integers on a 256 x 256 picture
_MAX_XML_BYTES = 1 << 20
_MAX_PICKLE_BYTES = 16 << 20
_BOX_NAMES = ("xmin", "ymin", "xmax", "ymax")
# What dicts, lists, strings and integers need; nothing that can name a class or call a function.
_PLAIN_OPCODES = {
    *("PROTO", "FRAME", "STOP", "MARK", "POP"),
    *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
    *("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE", "BINGET", "LONG_BINGET", "GET"),
}


def read_vggss(path: Path, *, pattern: re.Pattern[str]) -> dict[str, Truth]:
    """Read VGG-SS's ``vggss.json``.

    It is a list of objects with ``file``, ``class`` and ``bbox``.

    Args:
        path: The file.
        pattern: What a clip id looks like.

    Returns:
        Clip id -> label and boxes. Boxes are normalized as published: 12 of them lie outside of
        0..1 and 18 are degenerate (see docs/datasets.md).

    Raises:
        DataError: Names the entry that is wrong.
    """
    entries = read_json(path)
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path}: holds {type(entries).__name__}, expected a list of entries")

    truths: dict[str, Truth] = {}
    for number, entry in enumerate(entries):
        where = f"{path}, entry {number}"
        if not isinstance(entry, dict) or not {"file", "class", "bbox"} <= set(entry):
            raise DataError(
                f"{where}: found {quote(str(entry))}, expected an object with file, class and bbox"
            )

        clip_id, label, boxes = entry["file"], entry["class"], entry["bbox"]
        if not isinstance(clip_id, str) or not pattern.fullmatch(clip_id):
            raise DataError(
                f"{where}: file is {quote(str(clip_id))}, "
                "expected a clip id such as 1a2b3c4d5e6_000030"
            )

        where = f"{where} ({clip_id})"
        if clip_id in truths:
            raise DataError(f"{where}: this clip appears twice")
        if not isinstance(label, str) or not label.strip():
            raise DataError(f"{where}: class is {label!r}, expected a name")
        if not isinstance(boxes, list) or not boxes:
            raise DataError(f"{where}: bbox is {quote(str(boxes))}, expected a list of boxes")

        # Any four numbers pass. The protocol decides what a box outside of the picture means.
        for box in boxes:
            is_box = isinstance(box, list) and len(box) == 4 and all(map(is_finite_number, box))
            if not is_box:
                raise DataError(
                    f"{where}: box {quote(str(box))}, expected four numbers x1 y1 x2 y2"
                )

        # VGG-SS does not say who drew a box, so all boxes have annotator 0.
        truths[clip_id] = Truth(label, [tuple(map(float, box)) for box in boxes], (0,) * len(boxes))
    return truths


def read_flickr_xml(path: Path) -> Truth:
    """Read the boxes of one annotated Flickr frame, each with the number of its annotator.

    The root of the file has one element for each annotator. It holds ``bbox`` elements, and each
    of them holds xmin, ymin, xmax and ymax on a 256 grid, maybe after one other element. Further
    elements are ignored.

    Returns:
        Normalized boxes without a label. Annotators count from 0.

    Raises:
        DataError: The file is no such XML, holds no box, or declares entities.
    """
    path = Path(path)
    data = path.read_bytes()

    if len(data) > _MAX_XML_BYTES:
        raise DataError(
            f"{path}: has {len(data)} bytes, expected an annotation of at most {_MAX_XML_BYTES}"
        )

    # Entities can expand without end, or name other files.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise DataError(f"{path}: declares a document type or entities, expected plain annotations")

    try:
        root = ElementTree.fromstring(data)
    # LookupError: an unknown encoding
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: not readable XML: {error}") from None

    # Boxes right below the root are those of a single annotator.
    boxes, annotators, num_annotators = [], [], 0
    groups = [root] if any(_tag(child) == "bbox" for child in root) else list(root)
    for group in groups:
        found = [element for element in group.iter() if _tag(element) == "bbox"]
        for element in found:
            boxes.append(_flickr_box(element, f"{path}, annotator {num_annotators + 1}"))
            annotators.append(num_annotators)
        # An element without boxes is no annotator and takes no number.
        num_annotators += bool(found)

    if not boxes:
        raise DataError(f"{path}: holds no bbox element, expected one or more for each annotator")
    return Truth(None, boxes, annotators)


def _flickr_box(element: ElementTree.Element, where: str) -> tuple[float, ...]:
    """Return one box, normalized."""
    # Take the values by name where all four names are there, else by position.
    named = {_tag(child): child for child in element}
    children = list(element)
    if set(_BOX_NAMES) <= set(named):
        children = [named[name] for name in _BOX_NAMES]
    elif len(children) >= 5:
        children = children[1:5]  # the authors' loaders skip the first element, whatever it is

    if len(children) != 4:
        raise DataError(f"{where}: a bbox has {len(children)} values, expected xmin ymin xmax ymax")

    values = []
    for name, child in zip(_BOX_NAMES, children, strict=True):
        # `float` alone would also accept `nan`, `1e3` and signs.
        text = (child.text or "").strip()
        if not re.fullmatch(r"[0-9]{1,3}(\.0*)?", text) or float(text) > FLICKR_GRID:
            raise DataError(
                f"{where}: {name} is {quote(text)}, expected an integer from 0 to {FLICKR_GRID}"
            )
        values.append(float(text))

    if values[2] < values[0] or values[3] < values[1]:
        raise DataError(f"{where}: box {[int(value) for value in values]} ends before it begins")
    return tuple(value / FLICKR_GRID for value in values)


def _tag(element: ElementTree.Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rsplit("}", 1)[-1].lower() if isinstance(element.tag, str) else ""


def read_frame_choices(path: Path) -> dict[str, list[int]]:
    """Read HTF's ``imagetoframe``, a pickle or JSON.

    A pickle may hold dicts, lists, strings and integers and nothing else. It is scanned for all
    other operations before it is read.

    Returns:
        Video id -> frame numbers, the best first. They count from 1 at 30 frames a second.

    Raises:
        DataError: The file holds anything else.
    """
    choices = _read_plain_pickle(path) if path.suffix == ".pickle" else read_json(path)
    if not isinstance(choices, dict) or not choices:
        raise DataError(
            f"{path}: holds {type(choices).__name__}, "
            "expected a mapping of video id to frame numbers"
        )

    result = {}
    for video_id, frames in choices.items():
        frames = [frames] if isinstance(frames, int) else frames
        # `type(f) is int`, since True is an instance of int.
        is_fine = (
            isinstance(frames, list | tuple)
            and frames
            and all(type(f) is int and f >= 1 for f in frames)
        )
        # Ids of Flickr videos are numbers; a pickle can have them as integers.
        if not (re.fullmatch(r"[0-9]+", str(video_id)) and is_fine):
            # A pickle can nest lists more deeply than Python can print them.
            found = quote(f"{video_id}: {reprlib.repr(frames)}")
            raise DataError(f"{path}: entry {found}, expected a video id with frame numbers from 1")
        result[str(video_id)] = [int(frame) for frame in frames]
    return result


def content_sha256(choices: Mapping[str, list[int]]) -> str:
    """Return a hash of a table of frames that is the same for its pickle and its JSON.

    Args:
        choices: As ``read_frame_choices`` returns them.

    Returns:
        The hexadecimal SHA-256 of the sorted entries.
    """
    # Sorted and without spaces: equal tables give equal text.
    text = json.dumps(choices, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class _PlainUnpickler(pickle.Unpickler):
    """Refuse every class and every persistent object."""

    def find_class(self, module: str, name: str) -> NoReturn:
        """Refuse."""
        raise pickle.UnpicklingError(f"names the class {module}.{name}")

    def persistent_load(self, pid: object) -> NoReturn:
        """Refuse."""
        raise pickle.UnpicklingError("names a persistent object")


def _read_plain_pickle(path: Path) -> Any:
    data = Path(path).read_bytes()
    if len(data) > _MAX_PICKLE_BYTES:
        raise DataError(
            f"{path}: has {len(data)} bytes, expected a pickle of at most {_MAX_PICKLE_BYTES}"
        )

    # A pickle is a program, and reading it runs it. So look at each operation first.
    try:
        for opcode, argument, position in pickletools.genops(data):
            if opcode.name not in _PLAIN_OPCODES:
                raise DataError(
                    f"{path}, byte {position}: operation {opcode.name} {quote(str(argument))}, "
                    "expected a pickle of plain dicts, lists, strings and integers"
                )
            # The reader would reserve memory for an index as large as this.
            if opcode.name == "LONG_BINPUT" and int(argument or 0) > len(data):
                raise DataError(
                    f"{path}, byte {position}: memo index {argument} in {len(data)} bytes"
                )

        # A second barrier: this reader refuses classes even if an operation was overlooked above.
        return _PlainUnpickler(BytesIO(data)).load()
    except DataError:
        raise
    except (
        pickle.UnpicklingError,
        ValueError,
        EOFError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
    ) as error:
        raise DataError(f"{path}: not a readable pickle: {' '.join(str(error).split())}") from None


def is_finite_number(value: object) -> bool:
    """Return whether a value of a JSON file is a number that a float can hold."""
    # True is an int for Python. Python's JSON reads NaN, Infinity and integers of any length.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max
