"""A small checkout to export from: two clips with a file, one that is missing, cached features."""

import json
from pathlib import Path

import numpy as np
import yaml

from earshot.reader import INDEX_NAME
from earshot.shard_format import Row, crc32_of, write_shard
from earshot.tables import CLIPS, INDEX, SAMPLES, write_table
from pipeline.base.project import Project
from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.imports.import_clips import ImportParameters, import_clips
from pipeline.media.validate import ValidationParameters
from tests.helpers.downloads.download_helpers import QUICK
from tests.helpers.media.clip_factory import make_clip

DATASET = "vggsound"
# A clip whose id looks like an option, a plain one, and one without a file.
FIRST, SECOND, GONE = "-abcdefghij_000030", "bcdefghijkl_000040", "cdefghijklm_000050"
DOTTED = f"{SECOND}@0.5"  # a second sample of a clip, with a dot in its id
NEGATIVE = f"{FIRST}+{SECOND}"  # the picture of one clip with the sound of another
SAMPLE_SPLITS = {
    FIRST: ["train"],
    SECOND: ["vggss_test", "vggss_heard_test"],
    DOTTED: ["vggss_test"],
    NEGATIVE: ["vggss_test_plus_silent"],
    GONE: ["train"],
}
SECONDS = 2.0


def make_media(folder: Path) -> Path:
    """Write the media files of the two clips that are there; their sounds differ in length."""
    folder.mkdir()
    for number, clip_id in enumerate((FIRST, SECOND)):
        sound = f"aevalsrc='0.4*sin(2*PI*{300 + 200 * number}*t)':s=16000:d={SECONDS - number / 2}"
        make_clip(folder / f"{clip_id}.mp4", size="96x64", fps="8", seconds=SECONDS, sound=sound)
    return folder


def make_tables() -> tuple[list[dict], list[dict]]:
    """Return the rows of the tables of clips and samples."""
    clips = []
    for clip_id in (FIRST, SECOND, GONE):
        start = float(clip_id[-6:])
        clips.append(
            {
                "clip_id": clip_id,
                "video_id": clip_id[:11],
                "url": f"http://127.0.0.1:9/{clip_id}",
                "start_seconds": start,
                "end_seconds": start + SECONDS,
                "splits": ["train"],
            }
        )
    samples = []
    for sample_id, splits in SAMPLE_SPLITS.items():
        clip_id = FIRST if sample_id == NEGATIVE else sample_id.split("@")[0]
        samples.append(
            {
                "sample_id": sample_id,
                "clip_id": clip_id,
                "audio_clip_id": SECOND if sample_id == NEGATIVE else None,
                "time_seconds": 1.0,
                "splits": splits,
                "label": None if sample_id == NEGATIVE else "dog, barking",
                "boxes": [] if sample_id == NEGATIVE else [[0.1, 0.2, 0.5, 0.75]],
                "box_annotators": [] if sample_id == NEGATIVE else [0],
                "attributes": [("night", "no")],
            }
        )
    return clips, samples


def write_lists(root: Path) -> Project:
    """Write params.yaml and the tables of clips and samples: what stage `sources` leaves."""
    root.mkdir(exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump({"datasets": [DATASET], "download": QUICK}))
    project = Project.load(root)
    clips, samples = make_tables()
    write_table(project.clips_table_path(DATASET), clips, CLIPS)
    write_table(project.samples_table_path(DATASET), samples, SAMPLES)
    return project


def import_into(project: Project, *sources: Path):
    """Import clips as the command does."""
    clips, _ = make_tables()
    table = CLIPS.columns.empty_table().from_pylist(clips, schema=CLIPS.columns)
    return import_clips(
        sources,
        table,
        AccountPaths.find(project, DATASET),
        parameters=ImportParameters(mode="copy"),
        validation=ValidationParameters(),
        is_quiet=True,
    )


def write_features(project: Project, *, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """Write cached features; return the arrays by feature and sample id. GONE has none."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for number, sample_id in enumerate([name for name in SAMPLE_SPLITS if name != GONE]):
        width = 48 + 16 * number  # frames keep the shape of their video
        ramp = np.linspace(0, 255, width).astype(np.uint8)
        frame = np.broadcast_to(ramp[None, :, None], (32, width, 3)).copy()
        frame[..., 1] = 10 * number + seed
        flow = rng.normal(0, 3, (2, 16, width // 2)).astype(np.float16)
        spectrogram = rng.normal(-6, 1, (257, 30)).astype(np.float16)
        waveform = rng.integers(-9000, 9000, 8000).astype(np.int16)
        content = {
            "frames": frame,
            "flow": flow,
            "spectrograms": spectrogram,
            "waveforms": waveform,
        }
        for feature, array in content.items():
            arrays.setdefault(feature, {})[sample_id] = array
    for feature, by_id in arrays.items():
        _write_folder(project.feature_dir(DATASET, feature), feature, by_id, seed)
    return arrays


def _write_folder(folder: Path, feature: str, arrays: dict[str, np.ndarray], seed: int) -> None:
    own = {
        "frames": {"native_height": 64, "native_width": 96},
        "flow": {"native_height": 64, "native_width": 96},
    }.get(feature, {"sample_rate": 16000, "start_seconds": 0.25})
    units = "amplitude" if feature == "waveforms" else "toy"
    root = {"feature": feature, "units": units, "parameters": json.dumps({"a": 1}), "version": 1}
    rows = [
        Row(sample_id, f"{seed}{number:031x}", array, own)
        for number, (sample_id, array) in enumerate(arrays.items())
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = write_shard(folder, f"{seed:012x}", rows, [], root)
    index = [
        {
            "sample_id": row.sample_id,
            "status": "ok",
            "shard": path.name,
            "row": number,
            "key": row.key,
            "crc32": crc32_of(row.array),
        }
        for number, row in enumerate(rows)
    ]
    gone = {"sample_id": GONE, "status": "missing", "reason": "removed", "detail": "Video\ngone"}
    write_table(folder / INDEX_NAME, [*index, gone], INDEX)
