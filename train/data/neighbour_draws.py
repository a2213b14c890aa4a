"""Draw a neighbour of each training sample, by frame and by sound.

As the crops, the draws derive from (seed, epoch, sample id) by hashing, so resumed runs and several
processes draw the same ones.
"""

from dataclasses import dataclass

import numpy as np

from train.data.random_crops import mix_bits

_STREAMS = np.array([101, 102], np.uint64)  # by frame, by sound; others than those of the crops


@dataclass(frozen=True)
class NeighbourDraws:
    """The neighbours from which one is drawn, as positions in the split."""

    frames: np.ndarray  # int32 (n, k), by frame
    sounds: np.ndarray  # int32 (n, k), by sound
    seed: int

    def draw(
        self, positions: np.ndarray, id_hashes: np.ndarray, *, epoch: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw neighbours of some samples in an epoch.

        Args:
            positions: of the samples, int (n,).
            id_hashes: ``hash_ids`` of them, uint64 (n,).
            epoch: from 0.

        Returns:
            Positions (n,) of neighbours by frame, and by sound.
        """
        key = mix_bits(np.uint64(self.seed) ^ mix_bits(np.uint64(epoch + 1)))
        bits = mix_bits(mix_bits(id_hashes ^ key)[:, None] + _STREAMS)
        # Of 64 bits the remainder is uniform enough.
        chosen = (bits % np.uint64(self.frames.shape[1])).astype(np.int64)
        frames, sounds = self.frames[positions, chosen[:, 0]], self.sounds[positions, chosen[:, 1]]
        return frames.astype(np.int64), sounds.astype(np.int64)
