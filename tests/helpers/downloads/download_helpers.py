"""What tests of downloads share: real clips, lists of clips, and parameters that do not wait."""

import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa

from earshot.tables import CLIPS
from pipeline.base.parameters import build
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.engine import download_clips
from pipeline.downloads.parameters import DownloadParameters
from pipeline.media.files.ffmpeg import find_ffmpeg
from tests.helpers.downloads.misbehaving_server import Answer

QUICK = {
    "num_workers": 1,
    "quick_delay_seconds": 0.05,
    "max_wait_seconds": 2.0,
    "pause_seconds": 0.3,
    "socket_timeout_seconds": 1.0,
    "time_limit_seconds": 20.0,
    "num_site_retries": 0,
    "max_failed_fraction": 1.0,
    "min_free_gigabytes": 0.0,
}


def quick(**changes) -> DownloadParameters:
    """Parameters for tests on this machine."""
    return build(DownloadParameters, QUICK | changes, "download")


def encode(path: Path, *arguments: str) -> Path:
    """Run ffmpeg with ``arguments`` to make ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [
        str(find_ffmpeg()),
        "-nostdin",
        "-loglevel",
        "error",
        "-y",
        *arguments,
        "-bitexact",
        str(path),
    ]
    subprocess.run(command, check=True)
    return path


def make_clip(
    path: Path, *, seconds: float = 2.0, tone: int = 440, size: str = "128x72", fps: int = 12
) -> Path:
    """A moving test picture with a tone; ``tone`` makes files differ."""
    return encode(
        path,
        *("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={fps}:duration={seconds}"),
        *("-f", "lavfi", "-i", f"sine=frequency={tone}:sample_rate=16000:duration={seconds}"),
        *("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"),
    )


def make_counter(path: Path, *, seconds: int = 12) -> Path:
    """Make 25 frames a second that show their number in binary.

    Column k of 8 pixels is white if bit k is set.
    """
    bars = "geq=lum='255*mod(floor(N/pow(2,floor(X/8))),2)'"
    return encode(
        path,
        *(
            "-f",
            "lavfi",
            "-i",
            f"color=black:size=128x72:rate=25:duration={seconds},format=gray,{bars}",
        ),
        *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=16000:duration={seconds}"),
        *(
            "-pix_fmt",
            "yuv420p",
            "-g",
            "100",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-c:a",
            "aac",
        ),
    )


def read_counter(picture: np.ndarray) -> int:
    """The number that a frame of ``make_counter`` shows (gray, any width)."""
    width = picture.shape[1] / 16
    columns = [picture[:, round((bit + 0.5) * width)].mean() for bit in range(16)]
    return sum(1 << bit for bit, level in enumerate(columns) if level > 127)


def clips_table(*rows) -> pa.Table:
    """CLIPS rows from ``(clip_id, url)`` or ``(clip_id, url, start_seconds, end_seconds)``."""
    filled = [(*row, None, None)[:4] for row in rows]
    return pa.Table.from_pylist(
        [
            {"clip_id": row[0], "video_id": row[0], "url": row[1], "splits": ["train"]}
            | {"start_seconds": row[2], "end_seconds": row[3]}
            for row in filled
        ],
        schema=CLIPS.columns,
    )


def download(
    folder: Path,
    clips: pa.Table,
    *,
    dataset: str = "test",
    parameters=None,
    table_path: Path | None = None,
    copy_path: Path | None = None,
    **options,
) -> dict[str, dict]:
    """Run the engine in ``folder``; rows by clip id."""
    options.setdefault("sites_dir", folder / "sites")  # no pauses of other tests
    table = download_clips(
        clips,
        AccountPaths(folder / "clips", folder / "attempts.jsonl", table_path, copy_path),
        parameters=parameters or quick(),
        dataset=dataset,
        is_quiet=True,
        **options,
    )
    return {row["clip_id"]: row for row in table.to_pylist()}


def published(folder: Path) -> set[str]:
    """Names below the clips folder."""
    return {
        str(path.relative_to(folder / "clips"))
        for path in (folder / "clips").rglob("*")
        if path.is_file()
    }


def make_media(folder: Path) -> Path:
    """Fill ``folder`` with whole clips and broken ones."""
    for number in range(6):
        make_clip(folder / f"clip{number}.mp4", tone=300 + 50 * number)
    make_counter(folder / "counter.mp4")
    whole = str(folder / "clip0.mp4")
    encode(folder / "mute.mp4", "-i", whole, "-an", "-c", "copy")
    encode(folder / "sound_only.mp4", "-i", whole, "-vn", "-c", "copy")
    make_clip(folder / "short.mp4", seconds=0.4)
    encode(folder / "front.mp4", "-i", whole, "-c", "copy", "-movflags", "+faststart")
    encode(
        folder / "silent_still.mp4",
        *("-f", "lavfi", "-i", "color=red:size=64x64:rate=10:duration=2"),
        *(
            "-f",
            "lavfi",
            "-i",
            "anullsrc=r=16000:cl=mono",
            "-shortest",
            "-pix_fmt",
            "yuv420p",
            "-c:a",
            "aac",
        ),
    )
    return folder


def answer(path, **changes) -> Answer:
    """The file as it is."""
    return Answer(body=path.read_bytes(), **changes)
