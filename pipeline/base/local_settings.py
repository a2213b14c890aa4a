"""Settings of one user on one machine: secrets, and where large data lies.

They come from the environment or from ``params.local.yaml``, which Git ignores. ``params.yaml`` is
in Git, in ``dvc.lock`` and on the page, so it must not hold a secret.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earshot.errors import ParameterError
from pipeline.base.parameters import build, read_yaml
from pipeline.base.secrets import PROXY_FORM, is_proxy

LOCAL_NAME = "params.local.yaml"
STORAGE_VARIABLE = "EARSHOT_STORE"
PROXY_VARIABLE, COOKIES_VARIABLE = "EARSHOT_PROXY", "EARSHOT_COOKIES"

_REMEDY = (
    f"move it to {LOCAL_NAME}, which Git ignores, or to the variable {{variable}} of the "
    "environment (docs/downloads.md)"
)


@dataclass(frozen=True)
class LocalDownload:
    """Section ``download`` of ``params.local.yaml``."""

    # Never printed, so not in a traceback either.
    proxy: str | None = field(default=None, repr=False)
    cookies_path: str | None = field(default=None, repr=False)
    cookies_from_browser: str | None = None
    # Of yt-dlp, in place of those of params.yaml: a token may be among them.
    yt_dlp_options: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.proxy is not None and not is_proxy(self.proxy):
            raise ValueError(f"proxy is no address of a proxy, expected {PROXY_FORM}")


@dataclass(frozen=True)
class LocalSettings:
    """What ``params.local.yaml`` and the environment say; all of it may be absent."""

    download: LocalDownload = field(default_factory=LocalDownload)
    # The folder of sources, clips, ledgers, stores, weights and trainings; None: `cache` in the
    # checkout.
    storage: str | None = None


def read_local_settings(folder: Path, environment: Mapping[str, str]) -> LocalSettings:
    """Read ``folder/params.local.yaml``; variables of the environment take precedence.

    Raises:
        ParameterError: The file is not ignored by Git, is not YAML, or has an unknown key. The
            message shows no value.
    """
    settings = LocalSettings()
    path = folder / LOCAL_NAME
    if path.exists():
        _require_ignored(path)
        settings = build(LocalSettings, read_yaml(path), LOCAL_NAME)

    found = {
        **vars(settings.download),
        "proxy": environment.get(PROXY_VARIABLE) or settings.download.proxy,
        "cookies_path": environment.get(COOKIES_VARIABLE) or settings.download.cookies_path,
    }
    storage = environment.get(STORAGE_VARIABLE) or settings.storage
    # Built again, so that values of the environment are checked like those of the file.
    return LocalSettings(build(LocalDownload, found, "download"), storage)


def find_home(root: Path) -> Path:
    """Return the checkout that a folder belongs to: usually itself.

    `dvc exp run --temp` and its queue copy a checkout to ``.dvc/tmp/exps`` of the checkout, without
    the files that Git ignores.
    """
    for folder in root.parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2]
    return root


def require_no_secrets(params: Mapping[str, Any], path: Path) -> None:
    """Check that ``params.yaml`` holds no secret.

    Raises:
        ParameterError: There are cookies, or an address with a user name or a password. The message
            names the key and shows no value.
    """
    download = params.get("download")
    if isinstance(download, Mapping):
        if download.get("cookies_path") is not None:
            raise ParameterError(
                f"{path}: download.cookies_path is set, expected no secrets in a file that is in "
                f"Git: {_REMEDY.format(variable=COOKIES_VARIABLE)}"
            )
        # Some tools also take a proxy without `http://`, so any `@` counts.
        if "@" in str(download.get("proxy")):
            raise ParameterError(
                f"{path}: download.proxy holds a user name or a password, expected no secrets in "
                f"a file that is in Git: {_REMEDY.format(variable=PROXY_VARIABLE)}"
            )

    for name, text in _iter_texts(params, ""):
        # A password ends with an `@` before the first `/`. Further on, an `@` is part of a path.
        authority = text.partition("://")[2].split("/")[0]
        if "@" in authority:
            raise ParameterError(
                f"{path}: {name} is an address with a user name or a password, expected none in "
                "a file that is in Git: write it without them; ~/.netrc may hold them"
            )


def _iter_texts(value: Any, name: str) -> Any:
    """Yield the dotted name and the text of each string, however deep it lies."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _iter_texts(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _iter_texts(item, f"{name}[{index}]")


def _require_ignored(path: Path) -> None:
    # Status 1 also stands for a file that is ignored by a pattern but tracked all the same. Other
    # statuses mean that there is no repository, or no Git: then nothing is committed.
    command = ["git", "check-ignore", "-q", path.name]
    try:
        status = subprocess.run(command, cwd=path.parent, capture_output=True).returncode
    except OSError:
        return

    if status == 1:
        raise ParameterError(
            f"{path}: Git does not ignore it, expected a line {LOCAL_NAME} in .gitignore, because "
            "it may hold secrets (and `git rm --cached` if it was committed)"
        )
