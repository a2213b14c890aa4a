"""Find out what a feature needs: one request for each sample of the manifest.

A request has the key of the sample's array if the sample's clip was downloaded. Otherwise it has
the reason why the clip is missing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import DataError
from earshot.tables import describe_missing
from pipeline.features.feature import Feature
from pipeline.shards.keys import KeyMaker

_NO_SOUND_FLAG = "no_audio"  # of the table of downloads


@dataclass(frozen=True)
class Clip:
    """A clip's media file, as the downloads table describes it."""

    clip_id: str
    file: str  # absolute path; text, because 200,000 Path objects take seconds to create
    sha256: str
    has_sound: bool = True

    @property
    def path(self) -> Path:
        """Where the media file is."""
        return Path(self.file)


@dataclass(frozen=True)
class Absence:
    """Why a clip is not there."""

    reason: str  # one of ``pipeline.downloads.account.reasons``, or ``pending``
    detail: str | None = None


@dataclass(frozen=True)
class Request:
    """One sample of the manifest, with the key of its array or the reason why there is none."""

    sample_id: str
    # Where the feature comes from; for sound this can be another clip than the frame's.
    clip_id: str
    time_seconds: float | None  # in the media file; None: the clip's centre
    key: str | None = None  # None: the clip is missing
    reason: str | None = None  # why the clip is missing
    detail: str | None = None


def find_clips(downloads: pa.Table, clips_dir: Path) -> tuple[dict[str, Clip], dict[str, Absence]]:
    """Split the clips of a downloads table into those that are there and those that are not.

    Args:
        downloads: Table ``DOWNLOADS`` of ``earshot.tables``.
        clips_dir: The folder that the table's paths are relative to.

    Returns:
        The media files by clip id, and for every other clip id the reason why it is missing.

    Raises:
        DataError: A clip is ``ok`` but has no path or no hash.
    """
    names = ("clip_id", "status", "reason", "detail", "is_confirmed", "path", "sha256", "flags")
    columns = [downloads.column(name).to_pylist() for name in names]

    clips, absences = {}, {}
    for values in zip(*columns, strict=True):
        clip_id, status, reason, detail, is_confirmed, path, sha256, flags = values
        # A pending clip has no reason, unless a problem of this machine stopped its download.
        if status != "ok":
            detail = describe_missing(detail, is_confirmed=bool(is_confirmed))
            absences[clip_id] = Absence(reason or status, detail)
        elif path is None or sha256 is None:
            raise DataError(
                f"downloads: clip {clip_id} is ok but has no path or sha256; run `dvc repro` "
                "to fix it"
            )
        else:
            has_sound = _NO_SOUND_FLAG not in (flags or ())
            clips[clip_id] = Clip(clip_id, f"{clips_dir}/{path}", sha256, has_sound)
    return clips, absences


def make_requests(
    feature: Feature,
    samples: pa.Table,
    clips: Mapping[str, Clip],
    absences: Mapping[str, Absence],
) -> list[Request]:
    """Make one request for each sample.

    Args:
        feature: Its name, version and parameters enter the keys.
        samples: Table ``SAMPLES`` of ``earshot.tables``.
        clips: The clips that are there, by id.
        absences: Why the other clips are missing, by id.

    Returns:
        The requests, in the order of ``samples``.

    Raises:
        DataError: A sample id appears twice.
    """
    make_key = KeyMaker(feature)
    names = ("sample_id", "clip_id", "audio_clip_id", "time_seconds")
    columns = [samples.column(name).to_pylist() for name in names]

    requests = []
    for sample_id, clip_id, audio_clip_id, time_seconds in zip(*columns, strict=True):
        # A sample's sound can come from another clip than its picture.
        if feature.kind == "sound" and audio_clip_id is not None:
            clip_id = audio_clip_id

        clip = clips.get(clip_id)
        if clip is not None and feature.kind == "sound" and not clip.has_sound:
            detail = "the clip has no sound"
            requests.append(Request(sample_id, clip_id, time_seconds, None, "no_audio", detail))
        elif clip is not None:
            key = make_key(clip.sha256, time_seconds)
            requests.append(Request(sample_id, clip_id, time_seconds, key))
        else:
            # The list can be newer than the downloads, which then do not know all of its clips.
            unknown = Absence("pending", f"clip {clip_id} is not in the downloads table")
            absence = absences.get(clip_id, unknown)
            requests.append(
                Request(sample_id, clip_id, time_seconds, None, absence.reason, absence.detail)
            )

    _check_unique([request.sample_id for request in requests])
    return requests


@dataclass(frozen=True)
class RequestCounts:
    """Which samples of a feature a run would compute, and how many are there."""

    num_there: int
    to_do: np.ndarray  # bool, one a sample; samples of pending clips are to do, too

    @property
    def num_to_do(self) -> int:
        """How many samples a run would compute."""
        return int(self.to_do.sum())


def count_requests(
    feature: Feature, samples: pa.Table, downloads: pa.Table, cached: Collection[str]
) -> RequestCounts:
    """Find what ``make_requests`` would list, without an object for each sample.

    Args:
        feature: Its name, version and parameters enter the keys.
        samples: Table ``SAMPLES`` of ``earshot.tables``.
        downloads: Table ``DOWNLOADS`` of ``earshot.tables``.
        cached: The keys of arrays that need not be computed.
    """
    clip_ids = samples["clip_id"]
    if feature.kind == "sound":
        clip_ids = pc.coalesce(samples["audio_clip_id"], clip_ids)

    # A clip that the table does not know yet is pending, as in `make_requests`.
    places = pc.index_in(clip_ids, downloads["clip_id"].combine_chunks())
    status = downloads["status"].take(places)
    reason = pc.coalesce(downloads["reason"].take(places), status, pa.scalar("pending"))
    is_ok = pc.fill_null(pc.equal(status, "ok"), False)
    is_pending = pc.and_not(pc.equal(reason, "pending"), is_ok)

    if feature.kind == "sound":
        flags = downloads["flags"].combine_chunks()
        is_mute = pc.equal(pc.list_flatten(flags), _NO_SOUND_FLAG)
        mute_rows = pc.list_parent_indices(flags).filter(is_mute)
        is_ok = pc.and_not(is_ok, pc.is_in(places.cast(mute_rows.type), mute_rows))

    to_do = pc.or_(is_ok, is_pending).to_numpy()
    num_there = 0
    # Hashing half a million keys takes a second.
    if cached:
        make_key = KeyMaker(feature)
        hashes = downloads["sha256"].take(places).filter(is_ok).to_pylist()
        times = samples["time_seconds"].filter(is_ok).to_pylist()
        is_there = np.array([key in cached for key in map(make_key, hashes, times)], bool)
        to_do[is_ok.to_numpy()] = ~is_there
        num_there = int(is_there.sum())
    return RequestCounts(num_there, to_do)


def _check_unique(sample_ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for sample_id in sample_ids:
        if sample_id in seen:
            raise DataError(f"samples: {sample_id} appears twice, expected unique sample ids")
        seen.add(sample_id)
