"""Turn a downloaded file into the requested clip: join, cut, validate, hash and fsync it.

The engine moves it to its place afterwards.
"""

import functools
import os
from dataclasses import dataclass, replace
from pathlib import Path

from earshot.errors import MediaError
from earshot.files import sha256_of, sync
from pipeline.base.disk import link_file
from pipeline.downloads.account.reasons import classify
from pipeline.downloads.messages import ClipRequest, ClipResult, FetchRequest, make_failure
from pipeline.downloads.parameters import FetchParameters
from pipeline.media.cut import CuttingError, cut_clip
from pipeline.media.files.container import has_index
from pipeline.media.files.ffmpeg import find_ffmpeg
from pipeline.media.files.machine import is_machine_to_blame
from pipeline.media.recordings import find_recordings, may_have_recordings, write_joined
from pipeline.media.validate import (
    ClipFacts,
    SourceFacts,
    ValidationParameters,
    open_source,
    read_source_facts,
    validate_clip,
)

_ANY_HEIGHT = 1 << 20  # pixels: no limit
_WHOLE_SLACK_SECONDS = 0.1  # a file that is this much longer than its section is not cut


@dataclass(frozen=True)
class ClipMedia:
    """The file that contains a clip; None: the video ends before the clip's section."""

    path: Path | None
    is_section: bool = False  # the file is the clip's section alone, not the whole video


def make_clip(
    clip: ClipRequest,
    media: ClipMedia,
    request: FetchRequest,
    work_dir: Path,
    parameters: FetchParameters,
) -> ClipResult:
    """Make one clip of a request.

    Args:
        clip: the clip, one of ``request["clips"]``.
        media: the file that it is in.
        request: its video's request.
        work_dir: where the finished file waits.
        parameters: picture size, tools and limits.

    Returns:
        Where the clip waits and what is in it, or why there is none.
    """
    try:
        return _make_clip(clip, media, request, work_dir, parameters)
    except MediaError as error:
        # The decoder's own error says whether the file is to blame, or this machine.
        if media.path is not None and is_machine_to_blame(error.__context__, media.path):
            return make_failure("local", f"{error.__context__!r}: {error}")
        return make_failure(error.reason, str(error))
    except CuttingError as error:
        # The words that name the reason come first, then a colon and ffmpeg's message.
        is_local = classify(str(error).partition(":")[2]) == "local"
        if not is_local and media.path is not None and _is_damaged(media.path, parameters):
            return make_failure("corrupt", str(error))
        return make_failure("local" if is_local else None, str(error))


def _is_damaged(path: Path, parameters: FetchParameters) -> bool:
    """Return whether ffmpeg could not cut a file because the file itself is damaged."""
    try:
        validate_clip(path, wanted_seconds=None, parameters=parameters.validation)
    except MediaError as error:
        return error.reason == "corrupt" and not is_machine_to_blame(error.__context__, path)
    return False


def _make_clip(
    clip: ClipRequest,
    media: ClipMedia,
    request: FetchRequest,
    work_dir: Path,
    parameters: FetchParameters,
) -> ClipResult:
    if media.path is None:
        raise MediaError("too_short", "the video ends before the section begins")
    start_seconds, end_seconds = clip["start_seconds"] or 0.0, clip["end_seconds"]
    wanted_seconds = None if end_seconds is None else end_seconds - start_seconds

    # A user's own video may be silent: its pictures and flow can still be used.
    validation = parameters.validation
    if clip.get("needs_full_check"):
        validation = replace(validation, decode="all")
    check = functools.partial(
        validate_clip,
        wanted_seconds=wanted_seconds,
        parameters=validation,
        needs_sound=not request["is_linked"],
    )

    # A file that yt-dlp fetched as a section begins where the section does.
    section = (0.0, wanted_seconds) if media.is_section else (start_seconds, end_seconds)

    path, facts = media.path, None
    with open_source(path) as container:
        source = read_source_facts(container)
        # A file that is already right keeps its bytes. Opening takes long, so most files, which are
        # MP4, are opened once for both; recordings are joined in other containers only.
        if has_index(container) and _fits(source, section, request, parameters):
            facts = check(path, opened=container)
    if facts is None:
        path = _join_and_cut(path, clip, section, request, work_dir, parameters, source)
        facts = check(path)

    if wanted_seconds is not None:
        _require_not_longer(facts, wanted_seconds, parameters.validation)

    staged_path = _stage(path, clip, work_dir, is_linked=request["is_linked"])
    sha256 = sha256_of(staged_path)

    # The hash of the source shows later whether a rewritten source has changed.
    source_sha256 = sha256
    if path != media.path and request["url"].startswith("file:"):
        source_sha256 = sha256_of(media.path)
    return {
        "outcome": "ok",
        "file": {
            "path": f"{clip['file_stem']}{path.suffix}",
            "staged": str(staged_path.relative_to(request["clips_dir"])),
            "bytes": staged_path.stat().st_size,
            "sha256": sha256,
            "source_sha256": source_sha256,
            **facts.as_mapping(),
        },
    }


def _join_and_cut(
    path: Path,
    clip: ClipRequest,
    section: tuple[float, float | None],
    request: FetchRequest,
    work_dir: Path,
    parameters: FetchParameters,
    source: SourceFacts,
) -> Path:
    """Return a file of the wanted section: the source itself, or a new file."""
    # A file of several recordings first gets one clock.
    recordings = find_recordings(path) if may_have_recordings(source.container) else None
    if recordings is not None:
        source_path, path = path, work_dir / f"joined-{clip['file_stem']}{recordings.suffix}"
        write_joined(source_path, path, recordings)
        with open_source(path) as container:
            source = read_source_facts(container)

    if _fits(source, section, request, parameters):
        return path
    return _cut(path, clip, section, request, work_dir, parameters, source)


def _fits(
    source: SourceFacts,
    section: tuple[float, float | None],
    request: FetchRequest,
    parameters: FetchParameters,
) -> bool:
    """Return whether a file is just the wanted section and not too large."""
    # The user's own videos keep their size.
    is_small = request["is_linked"] or source.short_side <= parameters.max_height
    return is_small and _ends_with_section(source, *section)


def _ends_with_section(
    source: SourceFacts, start_seconds: float, end_seconds: float | None
) -> bool:
    """Return whether a whole file is just the wanted section."""
    if start_seconds != 0:
        return False
    if end_seconds is None:
        return True
    duration = source.duration_seconds
    return duration is not None and duration <= end_seconds + _WHOLE_SLACK_SECONDS


def _require_not_longer(
    facts: ClipFacts, wanted_seconds: float, parameters: ValidationParameters
) -> None:
    """Refuse a clip that is more than the wanted section."""
    limit_seconds = wanted_seconds + parameters.duration_tolerance_seconds
    if facts.duration_seconds > limit_seconds:
        raise MediaError(
            "corrupt",
            f"lasts {facts.duration_seconds:.2f} s, expected {limit_seconds:.2f} s or less: its "
            "timestamps are damaged",
        )


def _cut(
    path: Path,
    clip: ClipRequest,
    section: tuple[float, float | None],
    request: FetchRequest,
    work_dir: Path,
    parameters: FetchParameters,
    source: SourceFacts,
) -> Path:
    """Encode the wanted section at the wanted size; return the new file."""
    # A source without picture or sound cannot be cut; validation says what is missing.
    if source.video_index is None or source.audio_index is None:
        validate_clip(path, wanted_seconds=None, parameters=parameters.validation)
        raise MediaError("corrupt", "has no picture or no sound that ffmpeg can cut")

    start_seconds, stop_seconds = section
    if source.duration_seconds is not None and source.duration_seconds <= start_seconds:
        raise MediaError(
            "too_short",
            f"lasts {source.duration_seconds:.2f} s, the section begins at {start_seconds:g} s",
        )

    cut_path = work_dir / f"cut-{clip['file_stem']}.mp4"
    cut_clip(
        path,
        cut_path,
        start_seconds=start_seconds,
        stop_seconds=stop_seconds,
        max_height=_ANY_HEIGHT if request["is_linked"] else parameters.max_height,
        video_index=source.video_index,
        audio_index=source.audio_index,
        ffmpeg_path=find_ffmpeg(parameters.ffmpeg),
        limit_seconds=parameters.time_limit_seconds,
    )
    return cut_path


def _stage(path: Path, clip: ClipRequest, work_dir: Path, *, is_linked: bool) -> Path:
    """Give the finished file its own name; the source keeps its name for other clips."""
    staged_path = work_dir / f"whole-{clip['file_stem']}{path.suffix}"
    # A run that was killed here can have left this name.
    staged_path.unlink(missing_ok=True)
    if path.is_symlink():
        staged_path.symlink_to(os.readlink(path))
    else:
        link_file(path, staged_path, otherwise="copy")  # some disks have no hard links

    # A new file must be on the disk before the ledger has it. A user's own file already is.
    if not is_linked:
        sync(staged_path)
        sync(work_dir)
    return staged_path
