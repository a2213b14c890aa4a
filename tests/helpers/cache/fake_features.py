"""Features and an extractor without media, for tests of the engine: a clip is a small text file
with instructions.

Words of a clip's text: ``corrupt`` (its reading raises), ``mute`` (no spectrogram), ``segfault``
(its process dies), ``sleep:S``, ``hang`` (as in a dead loop), ``greedy`` (takes all memory),
``bug`` (an exception of ours); anything else only makes it another clip.
"""

import ctypes
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from earshot.errors import MediaError
from earshot.tables import DOWNLOADS, SAMPLES
from pipeline.features.feature import Extracted, Feature, Moment, Needs
from pipeline.features.registry import FEATURES


@dataclass(frozen=True)
class FakeParameters:
    size: int = 8
    gain: float = 1.0


def make_feature(name="frames", *, version=1, **parameters) -> Feature:
    """A feature whose arrays follow from the clip's bytes, the moment and the parameters."""
    return Feature(
        name=name,
        kind=FEATURES[name].kind,
        version=version,
        parameters=FakeParameters(**parameters),
        attributes={"units": "none"},
        needs=lambda moment, info: Needs(),
        compute=lambda moment, decoded: Extracted(None),
    )


def extract(path: Path, moments: list[Moment], features: list[Feature]):
    """What ``pipeline.features.extract.extract_features`` does, on texts; notes its work in
    ``touched.txt`` if it exists.
    """
    text = Path(path).read_text()
    touched = Path(path).parent.parent / "touched.txt"
    if touched.exists():
        with open(touched, "a") as file:
            for moment in moments:
                file.write(f"{moment.sample_id} {'+'.join(feature.name for feature in features)}\n")
    for word in text.split():
        if word.startswith("sleep:"):
            time.sleep(float(word[6:]))
        elif word == "corrupt":
            raise MediaError("corrupt", f"{path}: broken on purpose")
        elif word == "segfault":
            ctypes.string_at(0)  # here and now; a signal sent with kill may arrive at the next clip
        elif word == "hang":
            time.sleep(3600)
        elif word == "greedy":
            held = []
            while True:  # until the worker is ended; slowly enough for its memory to be looked at
                held.append(np.ones(2_000_000))
                time.sleep(0.02)
        elif word == "bug":
            raise ZeroDivisionError("a bug of ours")
    for moment in moments:
        yield {feature.name: _compute(feature, text, moment) for feature in features}


def _compute(feature: Feature, text: str, moment: Moment) -> Extracted:
    if "mute" in text.split() and feature.name == "spectrograms":
        return Extracted(None, reason="no_audio", detail="no audio stream")
    digest = hashlib.sha256(
        f"{text} {moment.time_seconds} {feature.name} {feature.parameters}".encode()
    ).digest()
    generator = np.random.default_rng(list(digest))
    array = generator.integers(
        0, 255, (feature.parameters.size, 4 + digest[0] % 8, 3), dtype=np.uint8
    )
    return Extracted(array, {"native_height": int(digest[1]), "native_width": 2 * int(digest[1])})


def make_dataset(
    folder: Path, texts: dict[str, str | None], *, samples_per_clip=1
) -> tuple[pa.Table, pa.Table]:
    """Write clips with these texts below ``folder/clips``; return SAMPLES and DOWNLOADS.

    A text of None stands for a missing clip.
    """
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    samples, downloads = [], []
    for clip_id, text in texts.items():
        if text is None:
            downloads.append(
                {"clip_id": clip_id, "status": "missing", "reason": "removed", "detail": "gone"}
            )
        else:
            path = folder / "clips" / f"{clip_id}.txt"
            path.write_text(text)
            sha256 = hashlib.sha256(text.encode()).hexdigest()
            downloads.append(
                {
                    "clip_id": clip_id,
                    "status": "ok",
                    "path": path.name,
                    "bytes": len(text),
                    "sha256": sha256,
                }
            )
        for i in range(samples_per_clip):
            time_seconds = None if samples_per_clip == 1 else float(i)
            samples.append(
                {"sample_id": f"{clip_id}_{i}", "clip_id": clip_id, "time_seconds": time_seconds}
            )
    return (
        pa.Table.from_pylist(samples, schema=SAMPLES.columns),
        pa.Table.from_pylist(downloads, schema=DOWNLOADS.columns),
    )
