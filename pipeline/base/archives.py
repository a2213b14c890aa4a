"""Unpack zip and tar files safely: nothing in an archive can write outside of its folder.

Absolute names, ``..``, links, devices and names for other systems are refused before anything is
written. The unpacked folder appears only when all of it is there.
"""

import contextlib
import lzma
import os
import re
import secrets
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from earshot.errors import DataError, quote
from earshot.files import sync
from pipeline.base.disk import require_space

_BLOCK_BYTES = 1 << 20
_MAX_MEMBERS = 5_000_000  # of one archive
_MAX_HEADER_BYTES = 1 << 20
_EXTENDED_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_TAR_NAMES = re.compile(r"\.(tar|tar\.gz|tgz|tar\.bz2|tbz2|tar\.xz|txz)$", re.IGNORECASE)
_ZIP_NAMES = re.compile(r"\.zip$", re.IGNORECASE)
# What reading an archive raises for damage, encrypted members and unknown compression methods.
_DAMAGES = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, RuntimeError),
)
_ZIP_ERRORS = (*_DAMAGES, ValueError)  # of names that cannot be decoded
_JUNK = re.compile(r"(^|/)(__MACOSX/|\._|\.DS_Store$)")  # what macOS adds to archives
_IS_ENCRYPTED = 0x1  # bit of ZipInfo.flag_bits


def is_archive(name: str) -> bool:
    """Return whether a file's name is that of a tar or zip file."""
    return bool(_TAR_NAMES.search(name) or _ZIP_NAMES.search(name))


def is_zip(name: str) -> bool:
    """Return whether a file's name is that of a zip file."""
    return _ZIP_NAMES.search(name) is not None


def unpack_archive(archive_path: Path, folder: Path) -> None:
    """Unpack a zip or tar file as ``folder``; do nothing when ``folder`` exists.

    Args:
        archive_path: The file. A tar is recognized by its name, a zip by its content.
        folder: Where the files appear, only when all of them are there.

    Raises:
        DataError: The file is damaged, no archive, has unsafe members, or does not fit on the disk.
    """
    archive_path, folder = Path(archive_path), Path(folder)
    # The folder appears only when it is whole, so nothing has to be checked.
    if folder.is_dir():
        return

    # Beside the folder: a renaming is atomic only within one file system.
    temporary_dir = folder.with_name(f".tmp-{secrets.token_hex(4)}-{folder.name}")

    try:
        temporary_dir.mkdir(parents=True)
        if zipfile.is_zipfile(archive_path):
            _unpack_zip(archive_path, temporary_dir)
        elif _TAR_NAMES.search(archive_path.name):
            for name, stream, num_bytes in iter_tar(archive_path):
                require_space(temporary_dir, num_bytes, f"{name} unpacks to {num_bytes} bytes")
                _write(stream, temporary_dir / name, num_bytes=num_bytes)
        else:
            raise DataError(f"{archive_path}: is not a zip or tar file")

        os.replace(temporary_dir, folder)
        # Without this, a power cut can take the new name away again.
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(temporary_dir, ignore_errors=True)
        raise


class _BoundedTarInfo(tarfile.TarInfo):
    """A member whose long name and other extended headers are small.

    tarfile reads them into memory, whatever size they announce, and they compress well.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDED_HEADERS and self.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"has a header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


def iter_tar(
    path: Path,
    *,
    on_refusal: Callable[[str, str], None] | None = None,
    is_seeking: bool = False,
) -> Iterator[tuple[PurePosixPath, IO[bytes], int]]:
    """Yield the regular files of a tar file, reading it once from front to end.

    Folders and files that macOS adds are skipped.

    Args:
        path: A tar file, compressed or not.
        on_refusal: Called with the name of an unsafe member (a link, a device, a path that leads
            elsewhere) and the reason; the member is then skipped. Without it, such a member is an
            error.
        is_seeking: Whether to jump over content that is not read, for a look at a few members.

    Yields:
        The member's relative path, its content, which must be read before the next member, and its
        size in bytes, of which the content has no more. Read the content in ``explain_damage``.

    Raises:
        DataError: The file is damaged, has too many members or too large headers, or
            ``on_refusal`` is None and a member is unsafe.
    """
    try:
        # `r|*` never seeks, so a tar of many gigabytes is read only once.
        with tarfile.open(path, "r:*" if is_seeking else "r|*", tarinfo=_BoundedTarInfo) as archive:
            for number, member in enumerate(archive, start=1):
                # tarfile keeps all members in memory, for access that a stream does not allow.
                archive.members.clear()  # type: ignore[attr-defined]
                if number > _MAX_MEMBERS:
                    raise tarfile.ReadError(f"has more than {_MAX_MEMBERS} members")
                if member.isdir() or _JUNK.search(member.name):
                    continue

                try:
                    name = safe_name(member.name, path)
                    if not member.isfile():
                        raise DataError(
                            f"{path}: member {quote(member.name)} is a link or device, "
                            "expected files"
                        )
                except DataError as error:
                    if on_refusal is None:
                        raise
                    on_refusal(member.name, str(error))
                    continue

                stream = archive.extractfile(member)
                assert stream is not None  # only for members that are not files
                yield name, stream, member.size
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"{path}: not a readable tar file: {' '.join(str(error).split())}"
        ) from None


def iter_zip(
    path: Path, *, on_refusal: Callable[[str, str], None]
) -> Iterator[tuple[PurePosixPath, IO[bytes], int]]:
    """Yield the regular files of a zip file; see ``iter_tar``.

    Args:
        path: A zip file.
        on_refusal: Called with the name of an unsafe, encrypted or damaged member and the reason;
            the member is then skipped.

    Raises:
        DataError: The file is damaged, or has too many members.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if len(archive.infolist()) > _MAX_MEMBERS:
                raise zipfile.BadZipFile(f"has more than {_MAX_MEMBERS} members")
            for info in archive.infolist():
                if info.is_dir() or _JUNK.search(info.filename):
                    continue

                try:
                    name = _check_member(info, path)
                    stream = archive.open(info)
                except (DataError, *_ZIP_ERRORS) as error:
                    on_refusal(info.filename, " ".join(str(error).split()))
                    continue

                with stream:
                    yield name, stream, info.file_size
    except _ZIP_ERRORS as error:
        raise DataError(
            f"{path}: not a readable zip file: {' '.join(str(error).split())}"
        ) from None


@contextlib.contextmanager
def explain_damage(words: str) -> Iterator[None]:
    """Turn what the body raises while it reads a damaged member into ``DataError``.

    Args:
        words: How its message begins.

    Raises:
        DataError: The member is damaged.
        OSError: This machine failed, for example because its disk is full.
    """
    try:
        yield
    except _DAMAGES as error:
        # Errors of the system have a number. Those of gzip and bz2 have none.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{words}: {' '.join(str(error).split())}") from None


def safe_name(name: str, archive: Path | str) -> PurePosixPath:
    """Return a member's name as a relative path.

    Args:
        name: As the archive has it, with forward slashes.
        archive: For error messages.

    Raises:
        DataError: The name could lead out of a folder, on any operating system.
    """
    # `tar -c .` puts `./` in front of every name.
    parts = name.split("/")
    while len(parts) > 1 and parts[0] == ".":
        parts.pop(0)

    # Names that are special on another system count too: an archive is safe on all systems.
    is_unsafe = (
        any(part in ("", ".", "..") for part in parts)
        or "\\" in name  # separates folders on Windows
        or re.match(r"[A-Za-z]:", name)  # a drive on Windows
        or any(ord(character) < 32 for character in name)
    )
    if is_unsafe:
        raise DataError(
            f"{archive}: member {quote(name)} has an unsafe name, expected a path below the "
            "archive's folder"
        )
    return PurePosixPath(*parts)


def _unpack_zip(archive_path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive_path) as archive:
            # Look at all members before the first one is written.
            if len(archive.infolist()) > _MAX_MEMBERS:
                raise DataError(f"{archive_path}: has more than {_MAX_MEMBERS} members")
            members = _list_members(archive, archive_path)
            num_bytes = sum(info.file_size for info in members.values())
            require_space(folder, num_bytes, f"{archive_path.name} unpacks to {num_bytes} bytes")

            for name, info in members.items():
                with archive.open(info) as stream:
                    _write(stream, folder / name, num_bytes=info.file_size)
    except _ZIP_ERRORS as error:
        raise DataError(
            f"{archive_path}: cannot be unpacked: {' '.join(str(error).split())}"
        ) from None


def _list_members(
    archive: zipfile.ZipFile, archive_path: Path
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Return the files of a zip archive by path; fail with ``DataError`` for unsafe ones."""
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.is_dir() or _JUNK.search(info.filename):
            continue
        name = _check_member(info, archive_path)

        # Zip files may have a name twice, and programs differ in which of the two they unpack.
        if name in members:
            raise DataError(f"{archive_path}: member {quote(info.filename)} appears twice")
        members[name] = info
    return members


def _check_member(info: zipfile.ZipInfo, archive_path: Path) -> PurePosixPath:
    """Return the path of a zip's member; fail with ``DataError`` for an unsafe one."""
    member = f"{archive_path}: member {quote(info.filename)}"

    # `filename` is cleaned up by zipfile; `orig_filename` is what the archive says.
    name = safe_name(info.orig_filename, archive_path)

    # The upper 16 bits are the Unix mode. They are 0 in archives made on Windows.
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise DataError(f"{member} is a link or device, expected files")
    if info.flag_bits & _IS_ENCRYPTED:
        raise DataError(f"{member} is encrypted")
    return name


def _write(stream: IO[bytes], path: Path, *, num_bytes: int | None = None) -> None:
    """Write a stream to a new file; fail when it holds more than ``num_bytes``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    num_written = 0

    # x: no member may replace another one.
    with open(path, "xb") as file:
        while block := stream.read(_BLOCK_BYTES):
            num_written += len(block)
            # The archive's directory can understate the size of a member (a zip bomb).
            if num_bytes is not None and num_written > num_bytes:
                raise DataError(
                    f"{path.name}: unpacks to more than the {num_bytes} bytes that its archive "
                    "announces"
                )

            file.write(block)
