"""Damage packets of a clip that the usual check does not decode."""

from collections.abc import Collection
from pathlib import Path

import av
import numpy as np

from tests.helpers.media.clip_factory import H264, make_clip

FPS = 12


def make_damaged_clip(path: Path, *, spared_seconds: Collection[float]) -> Path:
    """Make an FLV clip of 4 s with one keyframe, of which most packets after 0.5 s are noise.

    Args:
        path: Ends in ``.flv``.
        spared_seconds: Packets at these times stay whole.
    """
    options = (*H264, "-bf", "0", "-g", "250", "-sc_threshold", "0")
    make_clip(path, *options, size="96x64", fps=str(FPS))
    data = bytearray(path.read_bytes())
    generator = np.random.default_rng(0)
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        first_pts = None
        for packet in container.demux(video):
            if not packet.size or packet.pos is None:
                continue
            first_pts = packet.pts if first_pts is None else first_pts
            seconds = float((packet.pts - first_pts) * packet.time_base)
            is_spared = any(abs(seconds - one) < 0.6 / FPS for one in spared_seconds)
            if seconds > 0.5 and not is_spared:
                # The tag's head and the length of the unit stay; the slice's head does not.
                start, stop = packet.pos + 22, packet.pos + packet.size
                data[start:stop] = generator.bytes(stop - start)
    path.write_bytes(data)
    return path
