"""Make the key of a cached array: a hash of everything that decides its bytes, and nothing else."""

import hashlib

from earshot.shard_format import SCHEMA_VERSION, parameters_json
from pipeline.base.parameters import as_mapping
from pipeline.features.feature import Feature

_KEY_DIGITS = 32
_TASK_DIGITS = 12


class KeyMaker:
    """Makes the keys of one feature's arrays.

    A key is a hash of the clip's bytes, the sample's time in the clip, and the feature's name,
    version and parameters. No clip id and no path enters it, so the same media file under another
    id or in another folder has the same key.
    """

    def __init__(self, feature: Feature):
        parameters = parameters_json(as_mapping(feature.parameters))
        # The part that all keys share is hashed once.
        self._prefix = hashlib.sha256(f"{feature.name}\n{feature.version}\n{parameters}\n".encode())

    def __call__(self, clip_sha256: str, time_seconds: float | None) -> str:
        """Return the key, 32 hexadecimal digits; ``time_seconds`` None is the clip's centre."""
        time = "centre" if time_seconds is None else repr(float(time_seconds))
        key = self._prefix.copy()
        key.update(f"{clip_sha256}\n{time}".encode())
        return key.hexdigest()[:_KEY_DIGITS]


def make_task_id(feature_name: str, keys: list[str]) -> str:
    """Return the identity of a shard: a hash of the keys of its samples, in their order."""
    text = "\n".join([str(SCHEMA_VERSION), feature_name, *keys])
    return hashlib.sha256(text.encode()).hexdigest()[:_TASK_DIGITS]
