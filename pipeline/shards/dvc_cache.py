"""Find the files of an output folder in DVC's cache.

DVC deletes a stage's output folder before it runs the stage. A colleague who pulled the features
has no store, so the first change of a parameter or a table would compute everything again. But
DVC's cache still has the files, under the hashes in ``dvc.lock``
(https://doc.dvc.org/user-guide/project-structure/internal-files).
"""

import json
from pathlib import Path

import yaml

from earshot.errors import DataError
from earshot.shard_format import INDEX_NAME
from pipeline.base.disk import link_file


def find_cached_files(output_dir: Path | str) -> dict[str, Path]:
    """Find the files that ``dvc.lock`` lists for an output folder.

    Args:
        output_dir: The folder, an output of a DVC stage. It need not exist.

    Returns:
        File name -> path in DVC's cache, for the files that are there. Empty where DVC is not used.

    Raises:
        DataError: ``dvc.lock`` or the configuration of DVC cannot be read.
    """
    output_dir = Path(output_dir).resolve()
    root = next((folder for folder in output_dir.parents if (folder / ".dvc").is_dir()), None)
    if root is None or not (root / "dvc.lock").is_file():
        return {}

    # The hash of a folder ends in ".dir"; that of a single file does not.
    cache_dir = _find_cache_dir(root)
    folder_md5 = _find_locked_md5(root / "dvc.lock", output_dir.relative_to(root).as_posix())
    if folder_md5 is None or not folder_md5.endswith(".dir"):
        return {}

    # DVC keeps a folder as a JSON list of its files. A partial `dvc pull` does not bring it.
    listing_path = _object_path(cache_dir, folder_md5)
    if not listing_path.is_file():
        return {}

    listing = json.loads(listing_path.read_text(encoding="utf-8"))
    paths = {item["relpath"]: _object_path(cache_dir, item["md5"]) for item in listing}
    return {name: path for name, path in paths.items() if path.is_file()}


def restore_folder(output_dir: Path) -> bool:
    """Bring the files of an output folder back from DVC's cache, if the folder has no index.

    Returns:
        Whether the folder is now as DVC recorded it.
    """
    files = find_cached_files(output_dir)
    if INDEX_NAME not in files or (output_dir / INDEX_NAME).exists():
        return False

    output_dir.mkdir(parents=True, exist_ok=True)
    # The index last: it never names a shard that is not there.
    for name in sorted(files, key=lambda name: name == INDEX_NAME):
        link_file(files[name], output_dir / name, otherwise="copy")
    return True


def _object_path(cache_dir: Path, md5: str) -> Path:
    """Return where DVC 3 keeps the object with this hash."""
    return cache_dir / "files" / "md5" / md5[:2] / md5[2:]


def _find_cache_dir(root: Path) -> Path:
    """Return DVC's cache: where its configuration says, or in the checkout."""
    # Here, because most runs need no file of DVC's cache.
    from dvc.config import Config, ConfigError

    try:
        config = Config(dvc_dir=str(root / ".dvc"), validate=False)
    except ConfigError as error:
        raise DataError(f"{root}: DVC's configuration: {' '.join(str(error).split())}") from None
    return Path(config["cache"].get("dir") or root / ".dvc" / "cache").resolve()


def _find_locked_md5(path: Path, relative_path: str) -> str | None:
    """Return the hash of an output in ``dvc.lock``; None if no stage has it."""
    try:
        lock = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None

    for stage in (lock.get("stages") or {}).values():
        for output in stage.get("outs") or ():
            if output.get("path") == relative_path:
                return output.get("md5")
    return None
