"""The key of a cached array: a hash of everything that decides its bytes, and of nothing else."""

import hashlib

from earshot.shard_format import SCHEMA_VERSION, parameters_json
from pipeline.base.parameters import as_mapping
from pipeline.features.feature import Feature

_KEY_DIGITS = 32


def feature_key(feature: Feature, *, clip_sha256: str, time_seconds: float | None) -> str:
    """32 hexadecimal digits from the clip's bytes, the moment in it, and the feature's parameters and version.

    Neither names nor paths enter it: the same media under another id, or in another folder, is the same work.
    """
    return KeyMaker(feature)(clip_sha256, time_seconds)


class KeyMaker:
    """``feature_key`` for many samples of one feature."""

    def __init__(self, feature: Feature):
        parameters = parameters_json(as_mapping(feature.parameters))
        self._prefix = hashlib.sha256(f"{feature.name}\n{feature.version}\n{parameters}\n".encode())

    def __call__(self, clip_sha256: str, time_seconds: float | None) -> str:
        key = self._prefix.copy()
        key.update(
            f"{clip_sha256}\n{'centre' if time_seconds is None else repr(float(time_seconds))}".encode()
        )
        return key.hexdigest()[:_KEY_DIGITS]


def task_key(feature_name: str, keys: list[str]) -> str:
    """Identity of a shard-sized task: the ordered keys that it is asked for."""
    return hashlib.sha256(
        "\n".join([str(SCHEMA_VERSION), feature_name, *keys]).encode()
    ).hexdigest()[:12]
