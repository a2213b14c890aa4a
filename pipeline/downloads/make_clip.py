"""From the file that arrived to the clip that was wanted: cut, validated, hashed, synced; the engine publishes it."""

import os
from dataclasses import dataclass
from pathlib import Path

from earshot.errors import MediaError
from earshot.files import sha256_of, sync
from pipeline.downloads.messages import FetchParameters, failed_outcome
from pipeline.media.cut import CuttingError, cut_clip
from pipeline.media.ffmpeg import find_ffmpeg
from pipeline.media.mpegts_joins import find_recordings, write_joined
from pipeline.media.validate import look_at_source, validate_clip

_ANY_HEIGHT = 1 << 20
_WHOLE_SLACK_SECONDS = 0.1  # a file that is longer than its section by less is not encoded again


@dataclass(frozen=True)
class ClipMedia:
    """A file with a clip: the whole video, or (``is_section``) its section alone; None: the section is not in it."""

    path: Path | None
    is_section: bool = False


def finish_clip(
    clip: dict, media: ClipMedia, request: dict, work_dir: Path, parameters: FetchParameters
) -> dict:
    """The result of one clip of a request: where its file waits and what is in it, or why there is none."""
    try:
        return _make_clip(clip, media, request, work_dir, parameters)
    except MediaError as error:
        return failed_outcome(error.reason, str(error))
    except CuttingError as error:
        return failed_outcome(None, str(error))


def _make_clip(
    clip: dict, media: ClipMedia, request: dict, work_dir: Path, parameters: FetchParameters
) -> dict:
    path = media.path
    if path is None:
        raise MediaError("too_short", "the video ends before the section begins")
    start_seconds, end_seconds = clip["start_seconds"] or 0.0, clip["end_seconds"]
    wanted_seconds = None if end_seconds is None else end_seconds - start_seconds
    source = look_at_source(path)
    recordings = find_recordings(path)
    if recordings is not None:
        path = work_dir / f"joined-{clip['file_stem']}.ts"
        write_joined(media.path, path, recordings)
        source = look_at_source(path)
    ends_there = end_seconds is None or (
        source.duration_seconds is not None
        and source.duration_seconds <= end_seconds + _WHOLE_SLACK_SECONDS
    )
    is_whole = media.is_section or (start_seconds == 0 and ends_there)
    is_small = request["is_linked"] or source.short_side <= parameters.max_height
    facts = None
    if not is_whole or not is_small:
        # Only a source with both streams can be cut; the others are refused for what they lack.
        if source.video_index is None or source.audio_index is None:
            facts = validate_clip(path, wanted_seconds=None, parameters=parameters.validation)
        if (
            source.duration_seconds is not None
            and not media.is_section
            and source.duration_seconds <= start_seconds
        ):
            raise MediaError(
                "too_short",
                f"lasts {source.duration_seconds:.2f} s, the section begins at {start_seconds:g} s",
            )
        cut_path = work_dir / f"cut-{clip['file_stem']}.mp4"
        cut_clip(
            path,
            cut_path,
            start_seconds=0.0 if media.is_section else start_seconds,
            stop_seconds=None if media.is_section else end_seconds,
            max_height=_ANY_HEIGHT if request["is_linked"] else parameters.max_height,
            video_index=source.video_index,
            audio_index=source.audio_index,
            ffmpeg_path=find_ffmpeg(parameters.ffmpeg),
            limit_seconds=parameters.time_limit_seconds,
        )
        path = cut_path
    facts = validate_clip(path, wanted_seconds=wanted_seconds, parameters=parameters.validation)
    staged_path = work_dir / f"whole-{clip['file_stem']}{path.suffix}"
    staged_path.unlink(missing_ok=True)
    if path.is_symlink():
        staged_path.symlink_to(os.readlink(path))
    else:
        os.link(path, staged_path)
    if not request["is_linked"]:
        sync(staged_path)
        sync(work_dir)
    digest = sha256_of(staged_path)
    is_made_here = path != media.path
    source_sha256 = (
        sha256_of(media.path) if is_made_here and request["url"].startswith("file:") else digest
    )
    return {
        "outcome": "ok",
        "file": {
            "path": f"{clip['file_stem']}{path.suffix}",
            "staged": str(staged_path.relative_to(request["clips_dir"])),
            "bytes": staged_path.stat().st_size,
            "sha256": digest,
            "source_sha256": source_sha256,
            **facts.as_mapping(),
        },
    }
