"""Large files: fetched so that a broken transfer goes on where it stopped; archives: unpacked into one folder only.

Nothing that an archive says can write outside its folder: absolute names, ``..``, links, devices and names of other
systems are refused before anything is written, and what is unpacked becomes visible only when all of it is there.
"""

import os
import re
import secrets
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from earshot.errors import DataError, quote
from earshot.files import publish_text, sync
from pipeline.base.disk import require_space

_BLOCK_BYTES = 1 << 20
_TAR_NAMES = re.compile(r"\.(tar|tar\.gz|tgz|tar\.bz2|tbz2|tar\.xz|txz)$", re.IGNORECASE)
_JUNK = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$)")


def unpack_archive(archive_path: Path, folder: Path) -> None:
    """Unpack a zip or tar file as ``folder``, which appears only when it is whole; a folder that exists is whole."""
    archive_path, folder = Path(archive_path), Path(folder)
    if folder.is_dir():
        return
    temporary_dir = folder.with_name(f".tmp-{secrets.token_hex(4)}-{folder.name}")
    try:
        temporary_dir.mkdir(parents=True)
        if zipfile.is_zipfile(archive_path):
            _unpack_zip(archive_path, temporary_dir)
        elif _TAR_NAMES.search(archive_path.name):
            for name, stream in iter_tar(archive_path):
                _write(stream, temporary_dir / name)
        else:
            raise DataError(f"{archive_path}: is no zip or tar file")
        publish_text(temporary_dir / ".whole", archive_path.name + "\n")
        os.replace(temporary_dir, folder)
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(temporary_dir, ignore_errors=True)
        raise


def _unpack_zip(archive_path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive_path) as archive:
            members = [
                info
                for info in archive.infolist()
                if not info.is_dir() and not _JUNK.search(info.filename)
            ]
            names: dict[PurePosixPath, zipfile.ZipInfo] = {}
            for info in members:
                name = safe_name(info.orig_filename, archive_path)
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG):
                    raise DataError(
                        f"{archive_path}: member {quote(info.filename)} is a link or device, expected files"
                    )
                if info.flag_bits & 0x1:
                    raise DataError(f"{archive_path}: member {quote(info.filename)} is encrypted")
                if name in names:
                    raise DataError(f"{archive_path}: member {quote(info.filename)} appears twice")
                names[name] = info
            num_bytes = sum(info.file_size for info in members)
            require_space(folder, num_bytes, f"{archive_path.name} unpacks to {num_bytes} bytes")
            for name, info in names.items():
                with archive.open(info) as stream:
                    _write(stream, folder / name, num_bytes=info.file_size)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        raise DataError(
            f"{archive_path}: cannot be unpacked: {' '.join(str(error).split())}"
        ) from None


def iter_tar(
    path: Path, *, on_refusal: Callable[[str, str], None] | None = None
) -> Iterator[tuple[PurePosixPath, object]]:
    """``(safe relative name, open file)`` of the regular files of a tar, read once from front to end.

    Folders are passed over. Links, devices and names that lead elsewhere are refused: with DataError, or, where
    ``on_refusal`` is given, by calling it with the member's name and the reason and going on.
    """
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if member.isdir() or _JUNK.search(member.name):
                    continue
                try:
                    name = safe_name(member.name, path)
                    if not member.isfile():
                        raise DataError(
                            f"{path}: member {quote(member.name)} is a link or device, expected files"
                        )
                except DataError as error:
                    if on_refusal is None:
                        raise
                    on_refusal(member.name, str(error))
                    continue
                yield name, archive.extractfile(member)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"{path}: not a readable tar file: {' '.join(str(error).split())}"
        ) from None


def safe_name(name: str, archive: Path | str) -> PurePosixPath:
    """A member's relative path; refuses whatever could lead out of a folder, on any system."""
    parts = name.split("/")
    while len(parts) > 1 and parts[0] == ".":
        parts.pop(0)
    is_unsafe = (
        any(part in ("", ".", "..") for part in parts)
        or "\\" in name
        or re.match(r"[A-Za-z]:", name)
        or any(ord(character) < 32 for character in name)
    )
    if is_unsafe:
        raise DataError(
            f"{archive}: member {quote(name)} has an unsafe name, expected a path below the archive's folder"
        )
    return PurePosixPath(*parts)


def _write(stream, path: Path, *, num_bytes: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with open(path, "xb") as file:
        while block := stream.read(_BLOCK_BYTES):
            written += len(block)
            if (
                num_bytes is not None and written > num_bytes
            ):  # more than the archive's directory says
                raise DataError(
                    f"{path.name}: unpacks to more than the {num_bytes} bytes that its archive announces"
                )
            file.write(block)
