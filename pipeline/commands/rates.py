"""Rates of this machine: measured once, and kept until something that decides them changes."""

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import pyarrow as pa

from earshot.cached_property import cached_property
from earshot.files import publish_text
from earshot.shard_format import parameters_json
from pipeline.base.parameters import as_mapping
from pipeline.commands.measured_rates import (
    Material,
    Rate,
    choose_samples,
    group_features,
    make_material,
    measure_checks,
    measure_features,
)
from pipeline.features.feature import Feature
from pipeline.media.validate import ValidationParameters

RATES_NAME = "rates.json"  # in the storage
_LIBRARIES = ("numpy", "opencv-python-headless", "av", "librosa", "numba")
KEY_DIGITS = 16


class Rates:
    """What the clips and samples of one dataset take on this machine.

    A rate that is in the file is not measured again. Its key holds the machine, its libraries, the
    feature, and whether clips of the dataset were here.
    """

    def __init__(
        self,
        path: Path,
        dataset: str,
        *,
        samples: pa.Table,
        downloads: pa.Table,
        clips_dir: Path,
        is_anew: bool,
    ):
        """Prepare.

        Args:
            path: The file of rates; it is made if it is absent.
            dataset: Whose clips.
            samples: Table SAMPLES.
            downloads: Table DOWNLOADS.
            clips_dir: The folder of the clips.
            is_anew: Whether to measure what the file has, too.
        """
        self._path, self._is_anew = path, is_anew
        self._downloads, self._clips_dir = downloads, clips_dir
        self._samples = choose_samples(samples, downloads, clips_dir)
        self._of_what = f"clips of {dataset}" if len(self._samples) else "a clip that was made up"
        self._times: set[str] = set()  # when the rates that were asked for were measured
        self._failed: list[str] = []  # features that none of the clips gave

    def find_checks(self, validation: ValidationParameters) -> float:
        """Return the seconds of a processor that checking one clip takes."""
        words = ("check", parameters_json(as_mapping(validation)))
        found = self._find(words, lambda: {"check": Rate(self._measure_checks(validation), 0.0)})
        return found["check"].seconds

    def find_features(self, features: Mapping[str, Feature]) -> dict[str, Rate]:
        """Return the rates of a sample of each feature, by name.

        Features that share a pass over the video are measured together; the time of the pass counts
        for the first of them. Features that none of the clips gives are left out.
        """
        rates: dict[str, Rate] = {}
        for group in group_features(features):
            words = [
                f"{name} {feature.version} {parameters_json(as_mapping(feature.parameters))}"
                for name, feature in group.items()
            ]
            rates |= self._find(words, functools.partial(self._measure_features, group))
        self._failed += [name for name in features if name not in rates]
        return rates

    def describe(self) -> str | None:
        """Return on what the rates were measured, and when; None if none was needed."""
        sentences = []
        if self._times:
            sentences.append(
                f"CPU hours and sizes of features are from rates of this machine, measured on "
                f"{self._of_what}, {min(self._times)}; `--measure` measures them anew"
            )
        if self._failed:
            sentences.append(
                f"{', '.join(self._failed)}: not counted, since none of the {self._of_what} that "
                "were tried gave them; the stage of the feature says why"
            )
        return "; ".join(sentences) or None

    def _measure_checks(self, validation: ValidationParameters) -> float:
        return measure_checks(self._material, validation)

    def _measure_features(self, group: Mapping[str, Feature]) -> dict[str, Rate]:
        return measure_features(group, self._material)

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory:
        # Removed when this object is.
        return tempfile.TemporaryDirectory(prefix="earshot-plan-")

    @cached_property
    def _material(self) -> Material:
        print("measuring rates of this machine, once", file=sys.stderr, flush=True)
        folder = Path(self._folder.name)
        return make_material(self._samples, self._downloads, self._clips_dir, folder)

    def _find(
        self, words: Sequence[str], measure: Callable[[], Mapping[str, Rate]]
    ) -> dict[str, Rate]:
        """Return rates of the file; measure and enter those that it lacks."""
        text = "\n".join([describe_machine(), self._of_what, *words])
        key = hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]
        known = read_rates(self._path)
        if self._is_anew or key not in known:
            rates = {name: [rate.seconds, rate.num_bytes] for name, rate in measure().items()}
            if not rates:
                return {}
            # Another command may have written meanwhile.
            known = read_rates(self._path)
            known[key] = {"measured": time.strftime("%Y-%m-%d %H:%M"), "rates": rates}
            publish_text(self._path, json.dumps(known, indent=1) + "\n")

        self._times.add(known[key]["measured"])
        return {name: Rate(*values) for name, values in known[key]["rates"].items()}


def read_rates(path: Path) -> dict[str, dict]:
    """Return the rates of the file, by key; none if it is absent or damaged."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        # A damaged file costs a new measurement.
        return {}


@functools.cache
def describe_machine() -> str:
    """Return what decides how fast code runs here: the machine and the libraries."""
    try:
        names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except FileNotFoundError:
        names = [platform.processor()]
    versions = []
    for name in _LIBRARIES:
        # Another distribution can hold the same library, for example that of conda.
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    return "\n".join([platform.node(), *names[:1], str(os.cpu_count()), *versions])
