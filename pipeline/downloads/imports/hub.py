"""Data sets on the Hugging Face hub as a source of clips: ``hf://datasets/OWNER/NAME[@REV][/PATH]``.

Files are fetched one after the other; a partial file of an earlier import is continued. When the
clips of an archive are in place, the archive is removed and entered in ``done.jsonl``, so that the
next import does not fetch it again. The hub's token comes from the place where the hub's own tools
look for it (``HF_TOKEN`` or ``hf auth login``); it is never printed.
"""

import contextlib
import json
import re
import urllib.parse
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from earshot.errors import DataError
from pipeline.base.http import fetch_large_file

_SCHEME = "hf://"
_ADDRESS = re.compile(
    r"hf://datasets/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)"
    # Names of branches have no slash, but for those that the hub itself makes.
    r"(@(?P<revision>refs/(?:convert|pr)/[^/@]+|[^/@]+))?(/(?P<path>.*))?"
)
_DONE_NAME = "done.jsonl"
_DIGEST_DIGITS = 16  # in the name of a folder


@dataclass(frozen=True)
class HubFolder:
    """A data set on the hub, or a folder or file in it."""

    repository: str  # OWNER/NAME
    revision: str | None
    path: str  # empty: all of it

    @property
    def name(self) -> str:
        """The address, for reports."""
        return f"{_SCHEME}datasets/{self.repository}"


@dataclass(frozen=True)
class HubFile:
    """A file of a data set on the hub."""

    path: str  # in the data set
    num_bytes: int
    digest: str  # changes with the content
    sha256: str | None  # None: the hub does not say it


def parse_hub_address(source: Path | str) -> HubFolder | None:
    """Return what a source on the hub means; None for a source on this machine.

    Raises:
        DataError: It begins with ``hf://`` and is no data set.
    """
    text = str(source)
    if not text.startswith(_SCHEME):
        return None
    match = _ADDRESS.fullmatch(text)
    if match is None or ".." in text:
        # With `..` a path could lead out of the folder where files are kept.
        raise DataError(
            f"{text}: expected hf://datasets/OWNER/NAME or hf://datasets/OWNER/NAME/PATH"
        )
    repository = f"{match['owner']}/{match['name']}"
    # The hub's own tools write the slash of a branch as %2F.
    revision = match["revision"] and urllib.parse.unquote(match["revision"])
    return HubFolder(repository, revision, (match["path"] or "").strip("/"))


class HubSource:
    """Lists and fetches the files of one address.

    Attributes:
        folder: The address.
    """

    def __init__(
        self,
        folder: HubFolder,
        download_dir: Path,
        clip_ids: Collection[str],
        *,
        is_quiet: bool = False,
    ):
        """Prepare to list; nothing is requested yet.

        Args:
            folder: The address.
            download_dir: Where fetched files and the list of finished ones are.
            clip_ids: Of the list. With another list, finished archives are read again.
            is_quiet: No progress.
        """
        # It imports its HTTP client, which takes a second.
        from huggingface_hub import HfApi

        self.folder, self._is_quiet = folder, is_quiet
        self._api = HfApi(user_agent="earshot")
        self._dir = download_dir / folder.repository.replace("/", "--")
        # What an archive gave to one list says nothing about another list.
        self._list_key = sha256("\n".join(sorted(clip_ids)).encode()).hexdigest()[:16]

    def list_files(self) -> list[HubFile]:
        """Return all files below the address, by path.

        Raises:
            DataError: There is no such data set or path, the hub refuses, or it cannot be reached.
        """
        from huggingface_hub.errors import EntryNotFoundError
        from huggingface_hub.hf_api import RepoFile

        path = self.folder.path
        with self._explained():
            try:
                found = list(self._list_tree(path))
            except EntryNotFoundError:
                found = []
            # A file is no folder that can be listed.
            if not found and path:
                beside = self._list_tree(path.rpartition("/")[0], is_recursive=False)
                found = [item for item in beside if item.path == path]

        files = [item for item in found if isinstance(item, RepoFile)]
        if not files:
            where = f"{self.folder.name}/{path}" if path else self.folder.name
            raise DataError(f"{where}: has no files, expected some")
        return sorted(map(_describe, files), key=lambda file: file.path)

    def _list_tree(self, path: str, *, is_recursive: bool = True) -> Iterable[Any]:
        return self._api.list_repo_tree(
            self.folder.repository,
            path or None,
            recursive=is_recursive,
            revision=self.folder.revision,
            repo_type="dataset",
        )

    def fetch(self, file: HubFile) -> Path:
        """Fetch a file; resume where an earlier call stopped.

        Raises:
            DataError: It cannot be fetched, or does not fit on the disk.
        """
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        path = self._path_of(file)
        if path.exists():
            return path
        path.parent.mkdir(parents=True, exist_ok=True)

        url = hf_hub_url(
            self.folder.repository,
            file.path,
            repo_type="dataset",
            revision=self.folder.revision,
            endpoint=self._api.endpoint,
        )
        # Of its headers only the token is needed, which opens data sets that are not public.
        headers = {
            name: value
            for name, value in build_hf_headers().items()
            if name.lower() == "authorization"
        }

        fetch_large_file(
            url,
            path,
            num_bytes=file.num_bytes,
            sha256=file.sha256,
            headers=headers,
            is_quiet=self._is_quiet,
        )
        return path

    def is_done(self, file: HubFile, has_clip: Callable[[str], bool]) -> bool:
        """Return whether an earlier import with this list has finished an archive.

        Args:
            file: The archive.
            has_clip: Whether a clip needs no file, because it has one. If a clip from the archive
                needs a file again, the archive is not finished.
        """
        for entry in self._read_done():
            is_it = (entry["path"], entry["digest"]) == (file.path, file.digest)
            if is_it and entry["list"] == self._list_key and all(map(has_clip, entry["clips"])):
                return True
        return False

    def finish(self, file: HubFile, clip_ids: Sequence[str]) -> None:
        """Remember that the clips of an archive are in place, and remove it."""
        entry = {
            "path": file.path,
            "digest": file.digest,
            "list": self._list_key,
            "clips": list(clip_ids),
        }
        with open(self._dir / _DONE_NAME, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        self._path_of(file).unlink(missing_ok=True)

    def _path_of(self, file: HubFile) -> Path:
        # With the digest: another revision can have other bytes under the same path.
        return self._dir / file.digest[:_DIGEST_DIGITS] / Path(file.path).name

    def _read_done(self) -> list[dict[str, Any]]:
        path = self._dir / _DONE_NAME
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        entries = []
        for line in lines:
            # A kill can leave the last line incomplete: that archive is read again.
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
        return entries

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the errors of the hub's client into one sentence without addresses or tokens."""
        from huggingface_hub import errors

        name = self.folder.name
        try:
            yield
        except errors.GatedRepoError:
            # The first one, since a gated data set is also a RepositoryNotFoundError.
            raise DataError(
                f"{name}: is gated; accept its terms on its page, then `hf auth login`"
            ) from None
        except errors.RepositoryNotFoundError:
            raise DataError(
                f"{name}: not found; is it misspelled, or private (then `hf auth login`)?"
            ) from None
        except errors.RevisionNotFoundError:
            raise DataError(f"{name}: has no revision {self.folder.revision!r}") from None
        except errors.EntryNotFoundError:
            raise DataError(f"{name}: has no folder or file {self.folder.path!r}") from None
        except errors.HfHubHTTPError as error:
            status = error.response.status_code
            raise DataError(f"{name}: the hub answered with status {status}") from None
        except (errors.HTTPError, errors.HFValidationError, OSError) as error:
            raise DataError(
                f"{name}: the hub cannot be asked ({type(error).__name__}); look at the network, "
                "download.proxy and HF_ENDPOINT"
            ) from None


def _describe(item: Any) -> HubFile:
    large = item.lfs
    digest = large.sha256 if large is not None else item.blob_id
    return HubFile(item.path, item.size, digest, large.sha256 if large is not None else None)
