"""Let pages of the site link to examples, which lie outside of ``docs/`` (see mkdocs.yml)."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).resolve().parents[1]
_FOLDER = "examples"


def on_files(files: Files, config: Any) -> Files:
    """Add the examples to the files of the site."""
    for path in sorted((_ROOT / _FOLDER).glob("*.*")):
        files.append(File.generated(config, f"{_FOLDER}/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links that are right in the checkout into links that are right on the site."""
    return re.sub(rf"\]\(((?:\.\./)*)\.\./{_FOLDER}/", rf"](\1{_FOLDER}/", markdown)
