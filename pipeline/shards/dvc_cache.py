"""Files of an output folder as DVC keeps them in its cache.

DVC deletes a stage's output folder before it runs the stage. Who has pulled the features of a colleague has no store
of their own, so that the first change would compute everything again, had the files not stayed in DVC's cache under
the hashes that ``dvc.lock`` still lists (https://doc.dvc.org/user-guide/project-structure/internal-files).
"""

import configparser
import json
from pathlib import Path

import yaml

from earshot.errors import DataError


def find_cached_files(output_dir: Path | str) -> dict[str, Path]:
    """Files of ``output_dir`` at the last commit, by name, where DVC's cache has them; empty outside of DVC."""
    output_dir = Path(output_dir).resolve()
    root = next((folder for folder in output_dir.parents if (folder / ".dvc").is_dir()), None)
    if root is None or not (root / "dvc.lock").is_file():
        return {}
    cache_dir = _find_cache_dir(root)
    folder_md5 = _find_locked_md5(root / "dvc.lock", output_dir.relative_to(root).as_posix())
    if folder_md5 is None or not folder_md5.endswith(".dir"):
        return {}
    listing_path = cached_path(cache_dir, folder_md5)
    if not listing_path.is_file():
        return {}
    listing = json.loads(listing_path.read_text())
    paths = {item["relpath"]: cached_path(cache_dir, item["md5"]) for item in listing}
    return {name: path for name, path in paths.items() if path.is_file()}


def cached_path(cache_dir: Path, md5: str) -> Path:
    """Where DVC 3 keeps the object with this hash."""
    return cache_dir / "files" / "md5" / md5[:2] / md5[2:]


def _find_cache_dir(root: Path) -> Path:
    config = configparser.ConfigParser(interpolation=None)
    config.read([root / ".dvc" / "config", root / ".dvc" / "config.local"])
    return (root / ".dvc" / config.get("cache", "dir", fallback="cache")).resolve()


def _find_locked_md5(path: Path, relative_path: str) -> str | None:
    try:
        lock = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    for stage in (lock.get("stages") or {}).values():
        for output in stage.get("outs") or ():
            if output.get("path") == relative_path:
                return output.get("md5")
    return None
