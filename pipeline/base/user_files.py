"""Notice that files of the user's own changed.

DVC looks at the parameter that names a folder or a file, not at what lies there. So a stage that
reads such files notes their sizes and times in ``cache/user_files/``, and ``refresh`` compares.
"""

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from earshot.errors import DataError, ParameterError
from earshot.files import publish_text
from pipeline.base.local_settings import find_home
from pipeline.base.parameters import complete_run, find_section
from pipeline.base.project import Project

_REMOTE = ("http", "https", "gdrive")  # schemes of what is fetched
# Keys of a run that name files or folders of weights, and labels.
_FILES_OF_RUNS = (
    *("init", "object_guidance_weights", "teacher_weights", "labels"),
    *("label_encoder", "frame_encoder", "sound_encoder"),
)
# What stages write themselves is not the user's, also if a parameter names the checkout.
_OWN_FOLDERS = ("cache", "manifests", "reports")


def find_stage_files(project: Project) -> dict[str, list[Path]]:
    """Return the weights, labels and foreign maps that params.yaml names, by their stage.

    Fetched weights are not among them: their hashes are checked.
    """
    params = project.params
    files: dict[str, list[Path]] = {}

    for name in _list_names(params.get("released")):
        entry = find_section(params, "weights", name)
        _add_path(files, f"weights@{name}", entry.get("url"), project)

    for name in _list_names(params.get("models")):
        try:
            entry = complete_run(params, name)
        except ParameterError:  # which `check` names
            continue
        for key in _FILES_OF_RUNS:
            # Labels that are clusters are written by the training itself.
            if key != "labels" or not entry.get("label_encoder"):
                _add_path(files, f"train@{name}", entry.get(key), project)

    guidance = find_section(params, "evaluate").get("object_guidance_weights")
    _add_path(files, "evaluate", guidance, project)
    for path in find_section(params, "evaluate", "external").values():
        _add_path(files, "evaluate", path, project)
    for dataset in _list_names(find_section(params, "detections").get("datasets")):
        weights = find_section(params, "detections", "detector").get("weights")
        _add_path(files, f"detections@{dataset}", weights, project)
    return files


def _list_names(value: object) -> list[str]:
    """Return the names of a list; none where something else stands, which `check` refuses."""
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _add_path(files: dict[str, list[Path]], stage: str, value: object, project: Project) -> None:
    """Add a path; words such as ``imagenet``, ``coco`` or ``random`` and addresses are none."""
    if not isinstance(value, str) or urlsplit(value).scheme in _REMOTE:
        return

    parts = urlsplit(value)
    text = unquote(parts.path) if parts.scheme == "file" else value
    path = find_home(project.root) / os.path.expanduser(text)

    # What decides the runs of this checkout is in ``cache/inputs``, on which trainings depend.
    runs = (*find_section(project.params, "train"), *find_section(project.params, "weights"))
    if path in {project.run_dir(run) for run in runs}:
        return
    # A file that is missing is told from a word by a separator or a suffix.
    if path.exists() or os.sep in text or path.suffix:
        files.setdefault(stage, []).append(path)


@contextlib.contextmanager
def noted_user_files(
    project: Project, stage: str, paths: Iterable[Path] | None = None
) -> Iterator[None]:
    """Note what the user's files are before the body reads them, if the body succeeds.

    Args:
        project: The checkout.
        stage: Its name in ``dvc.yaml``, for example ``sources@flickr``.
        paths: Files and folders; None: those of ``find_stage_files``.
    """
    chosen = list(find_stage_files(project).get(stage, ()) if paths is None else paths)

    # Before: a file that changes while it is read counts as changed.
    before = describe_files(project, chosen)

    yield
    if chosen:
        publish_text(_record_path(project, stage), json.dumps(before, indent=0) + "\n")


def have_user_files_changed(project: Project, stage: str, paths: Iterable[Path]) -> bool:
    """Return whether a stage's files differ from those that it noted.

    Args:
        project: The checkout.
        stage: Its name in ``dvc.yaml``, for example ``sources@flickr``.
        paths: Files and folders that params.yaml names for this stage.

    Returns:
        True also if nothing was noted, unless there are no paths.

    Raises:
        DataError: One of the paths is not there.
    """
    paths = list(paths)
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: not found, though params.yaml names it")

    try:
        noted = json.loads(_record_path(project, stage).read_text())
    except (FileNotFoundError, ValueError):
        return bool(paths)
    return noted != describe_files(project, paths)


def describe_files(project: Project, paths: Iterable[Path]) -> dict[str, list[int]]:
    """Return size in bytes and modification time in ns by path, of files and all below folders.

    Links are followed, but no folder is entered twice. Hidden files are left out.
    """
    own = [project.root / name for name in _OWN_FOLDERS]
    facts: dict[str, list[int]] = {}

    for path in paths:
        for found in walk_files(path, but=own) if path.is_dir() else [path]:
            with contextlib.suppress(OSError):  # a link without a target
                status = found.stat()
                # JSON holds UTF-8 only, and names of files can be any bytes.
                facts[os.fsencode(found).decode("utf-8", "replace")] = [
                    status.st_size,
                    status.st_mtime_ns,
                ]
    return facts


def walk_files(
    root: Path,
    *,
    but: Collection[Path] = (),
    on_hidden: Callable[[str], None] = lambda name: None,
) -> Iterator[Path]:
    """Yield the files below a folder of the user's, in a fixed order.

    Links to folders are followed, but no folder is entered twice: a link can lead back to a folder
    above it, and the walk would never end. Hidden files and what macOS adds to archives are left
    out.

    Args:
        root: The folder.
        but: Folders that are not entered.
        on_hidden: Called with the name of each hidden file or folder.
    """
    visited = {os.path.realpath(folder) for folder in but}
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real_path = os.path.realpath(folder)
        if real_path in visited:
            # An empty list keeps `os.walk` out of the folders below.
            subfolders.clear()
            continue
        visited.add(real_path)

        for name in (*subfolders, *names):
            if name.startswith("."):
                on_hidden(name)
        # In place, so that `os.walk` enters them in this order.
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith((".", "__MACOSX"))
        )
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def _record_path(project: Project, stage: str) -> Path:
    return project.root / "cache" / "user_files" / f"{stage}.json"
