"""Keep a folder of rendered media: render what is missing, remove what no entry names.

Rendering resumes. A file counts as whole if its size and SHA-256 are those in ``rendered.jsonl``,
whatever stopped the run that wrote it.
"""

import json
import multiprocessing
import os
from pathlib import Path

import cv2

from earshot.errors import DataError
from earshot.files import publish, publish_text, remove_leftovers, sha256_of
from pipeline.base.progress import Progress
from pipeline.datasets.sample.entries import TOO_SHORT_SECONDS, Entry, Parameters, file_name
from pipeline.datasets.sample.rendering import SceneRenderer, encode, render_sound

_TRUNCATED_FRACTION = 0.4  # of a truncated file's bytes are there
_LEDGER_NAME = "rendered.jsonl"


def render_all(entries: list[Entry], parameters: Parameters, remote_dir: Path) -> None:
    """Make a folder hold exactly the media of the entries.

    Args:
        entries: All clips. Those with the defect ``removed`` have no file.
        parameters: Of the dataset.
        remote_dir: The folder; it is made where it does not exist.
    """
    remote_dir.mkdir(parents=True, exist_ok=True)
    remove_leftovers(remote_dir)
    ledger_path = remote_dir / _LEDGER_NAME
    known = _read_ledger(ledger_path)

    # Files of other parameters have other names and would stay for ever.
    wanted = {file_name(entry, parameters): entry for entry in entries if entry.defect != "removed"}
    for path in remote_dir.glob("*.mp4"):
        if path.name not in wanted:
            path.unlink()

    waiting = [
        entry for name, entry in wanted.items() if not _is_whole(remote_dir / name, known.get(name))
    ]
    if not waiting:
        return

    # Write the ledger anew before lines are added: a line that a kill cut off must not swallow
    # the next one.
    kept = sorted(known.keys() & wanted.keys())
    publish_text(ledger_path, "".join(_ledger_line(name, *known[name]) for name in kept))

    num_workers = min(len(waiting), parameters.num_workers or os.cpu_count() or 1)
    tasks = [(entry, parameters, remote_dir) for entry in waiting]
    # Spawn, do not fork: the caller may have threads (OpenCV, Arrow) that a fork would break.
    with (
        Progress(len(tasks), "rendering sample") as progress,
        open(ledger_path, "a", encoding="utf-8") as ledger,
        multiprocessing.get_context("spawn").Pool(num_workers) as pool,
    ):
        for name, size, digest in pool.imap_unordered(_render_task, tasks, chunksize=4):
            # Flush each line: a run that is killed loses only the files in work.
            ledger.write(_ledger_line(name, size, digest))
            ledger.flush()
            progress.update()


def _render_task(task: tuple[Entry, Parameters, Path]) -> tuple[str, int, str]:
    cv2.setNumThreads(1)  # there is one process a core already
    entry, parameters, remote_dir = task
    path = remote_dir / file_name(entry, parameters)
    render_clip(entry, parameters, path)
    return path.name, path.stat().st_size, sha256_of(path)


def render_clip(entry: Entry, parameters: Parameters, path: Path) -> None:
    """Render one clip, with its defect, and publish it at ``path``."""
    scene, defect = entry.scene, entry.defect
    duration_seconds = TOO_SHORT_SECONDS if defect == "too_short" else parameters.duration_seconds

    frames = waveform = None
    if defect != "no_video":
        renderer = SceneRenderer(scene)
        num_frames = round(duration_seconds * parameters.fps)
        # A generator: the encoder takes one frame at a time, so no clip is held in memory.
        frames = (renderer.frame(index / parameters.fps) for index in range(num_frames))
    if defect != "no_audio":
        waveform = render_sound(scene, duration_seconds=duration_seconds)

    with publish(path) as temporary_path:
        encode(temporary_path, frames, waveform, fps=parameters.fps)
        if defect == "truncated":
            # As a transfer that breaks off leaves it, with the header of a whole file.
            os.truncate(temporary_path, int(temporary_path.stat().st_size * _TRUNCATED_FRACTION))


def _ledger_line(name: str, size: int, digest: str) -> str:
    return json.dumps({"file": name, "bytes": size, "sha256": digest}) + "\n"


def _read_ledger(path: Path) -> dict[str, tuple[int, str]]:
    """Return size and sha256 of each rendered file; ignore a last line that was cut off."""
    known: dict[str, tuple[int, str]] = {}
    if not path.exists():
        return known

    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            known[row["file"]] = (row["bytes"], row["sha256"])
        except (ValueError, KeyError, TypeError):
            # A kill can cut off the last line only. Anything else is damage.
            if number < len(lines):
                raise DataError(
                    f"{path}:{number}: not a JSON line with file, bytes and sha256; remove the file"
                ) from None
    return known


def _is_whole(path: Path, known: tuple[int, str] | None) -> bool:
    return (
        known is not None
        and path.is_file()
        # The size first: it costs nothing, and most damage changes it.
        and path.stat().st_size == known[0]
        and sha256_of(path) == known[1]
    )
