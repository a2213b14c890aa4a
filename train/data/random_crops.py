"""Draw where training samples are cropped and whether they are flipped.

The numbers derive from (seed, epoch, sample id) by hashing. They do not depend on the batch, the
process or the order in which samples are read, so resumed runs draw the same ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_NUM_STREAMS = 3  # y, x, flip
_NUM_BITS = 24  # of a draw: as many as a float32 holds exactly


@dataclass(frozen=True, kw_only=True)
class RandomCrops:
    """How the frames of training samples are cropped and flipped."""

    seed: int = 0
    has_random_crop: bool = True  # False: always the middle
    has_flip: bool = True  # False: never mirrored

    def draw(self, id_hashes: np.ndarray, *, epoch: int) -> np.ndarray:
        """Draw the crops of some samples in an epoch.

        Args:
            id_hashes: ``hash_ids`` of the samples, uint64 (n,).
            epoch: from 0.

        Returns:
            float32 (n, 3): y and x in [0, 1), as fractions of what the crop leaves over, and 1
            where the sample is flipped, else 0.
        """
        streams = np.arange(_NUM_STREAMS, dtype=np.uint64)
        key = mix_bits(np.uint64(self.seed) ^ mix_bits(np.uint64(epoch + 1)))
        # (n, 3): independent bits for y, x and flip of each sample.
        bits = mix_bits(mix_bits(id_hashes ^ key)[:, None] + streams)

        drawn = (bits >> np.uint64(64 - _NUM_BITS)).astype(np.float32) / np.float32(1 << _NUM_BITS)
        drawn[:, 2] = (drawn[:, 2] < 0.5) if self.has_flip else 0
        if not self.has_random_crop:
            drawn[:, :2] = 0.5
        return drawn


def hash_ids(sample_ids: Sequence[str]) -> np.ndarray:
    """Return a 64-bit hash of each id, uint64 (n,), the same on every machine."""
    return np.array([_hash_text(sample_id) for sample_id in sample_ids], np.uint64)


def _hash_text(text: str) -> int:
    """Return the 64-bit FNV-1a hash of a text."""
    # Python's own hash of a text differs from process to process.
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def mix_bits(value: np.ndarray | np.uint64) -> np.ndarray:
    """Let every input bit reach every output bit (the output function of SplitMix64)."""
    # Overflow is wanted: it is arithmetic modulo 2^64.
    with np.errstate(over="ignore"):
        mixed: np.ndarray = np.asarray(value, np.uint64)
        mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
