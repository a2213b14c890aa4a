"""Read PyTorch files that anybody may have written: tensors and plain values, never code."""

import codecs
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray

from earshot.errors import DataError

_NUM_QUOTED_BYTES = 60
_NUM_QUOTED_CHARACTERS = 120


class _Placeholder:
    """Stand in for a class that a checkpoint mentions beside its tensors; keep nothing of it."""

    def __init__(self, *arguments: Any, **options: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# What published checkpoints mention besides tensors: NumPy scalars (scores) and Lightning's
# callbacks (by class).
_HARMLESS = [
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
    (multiarray.scalar, "numpy.core.multiarray.scalar"),
    (multiarray.scalar, "numpy._core.multiarray.scalar"),
    (codecs.encode, "_codecs.encode"),
    *(
        (_Placeholder, f"{package}.{name}")
        for package in ("pytorch_lightning", "lightning.pytorch")
        for name in (
            "callbacks.early_stopping.EarlyStopping",
            "callbacks.model_checkpoint.ModelCheckpoint",
            "callbacks.progress.TQDMProgressBar",
            "utilities.parsing.AttributeDict",
        )
    ),
    (_Placeholder, "argparse.Namespace"),
]

# torch's messages about a name that it refuses to load; the group is that name.
_REFUSED_NAME = re.compile(r"(?:[Uu]nsupported GLOBAL|global: GLOBAL|Unsupported class) `?([\w.]+)")


def load_tensors(path: Path | str) -> Any:
    """Load a file of tensors and plain values onto the CPU.

    Args:
        path: of the file.

    Returns:
        What the file holds: a state dict, or a nesting of dicts and lists with plain values.

    Raises:
        DataError: the file is not there, is damaged, is something else, or holds code. The message
            is one sentence.
    """
    path = Path(path)

    try:
        _require_whole(path)
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle protocols of other people's files
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path}: not found") from None

    except Exception as error:  # the parsers of such files raise anything
        if name := _REFUSED_NAME.search(str(error)):
            raise DataError(
                f"{path}: holds more than tensors (its pickle names code: {name[1]}); refused, "
                "since loading it could run that code"
            ) from None

        # Text is a better explanation than the message of a parser.
        quote = "" if isinstance(error, OSError) else _quote_text(path)
        problem = quote or _shorten_message(error)
        raise DataError(
            f"{path}: not a checkpoint of PyTorch, or a damaged one ({problem})"
        ) from None


def _require_whole(path: Path) -> None:
    """Compare the checksums in a zip file, as PyTorch writes it.

    torch does not look at the checksums, and it unpacks what other programs have packed: a small
    file could fill the memory.
    """
    if not zipfile.is_zipfile(path):
        # torch's older format has no checksums.
        return

    with zipfile.ZipFile(path) as archive:
        num_bytes = sum(entry.file_size for entry in archive.infolist())
        if num_bytes > path.stat().st_size:
            raise zipfile.BadZipFile(
                f"its entries would unpack to {num_bytes} bytes, and PyTorch packs nothing"
            )
        damaged = archive.testzip()

    if damaged is not None:
        raise zipfile.BadZipFile(f"checksum of {damaged} differs")


def _quote_text(path: Path) -> str:
    """Quote the beginning of a text file; empty for other files.

    Text is a server's error page or a pointer of Git LFS.
    """
    with open(path, "rb") as file:
        head = file.read(_NUM_QUOTED_BYTES).decode("ascii", errors="replace").strip()

    is_readable = all(c.isprintable() or c.isspace() for c in head) and "\ufffd" not in head
    is_text = len(head) > 1 and is_readable
    return f"it is text: {' '.join(head.split())!r}" if is_text else ""


def _shorten_message(error: Exception) -> str:
    """Return the useful part of a message on one line; torch's own messages fill a page."""
    sentence = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition(". ")[0]

    lines = sentence.splitlines()
    has_words = bool(lines) and any(c.isalpha() for c in lines[0])
    return lines[0][:_NUM_QUOTED_CHARACTERS] if has_words else type(error).__name__
