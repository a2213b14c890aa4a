"""The maps that FlowGrad-H's authors score (Singh et al., ICASSP 2023), under their protocol.

They multiply RCGrad's cleaned map by the 8-bit picture of the flow (0 to 255) on the grid. Nothing
normalizes the product: a pixel counts from 0.5 on. ``train/models/flowgrad_h.py`` has the product
with scaled flow, which suits the protocols that normalize maps.
"""

from collections.abc import Sequence

import numpy as np

from earshot.reader import FeatureReader
from eval.entrants.baselines import FlowMaps
from eval.entrants.maps import Maps
from eval.scoring.protocols import MEDIAN_INDEX, get_protocol, normalize
from eval.scoring.upsampling import upsample

_PROTOCOL = get_protocol("flowgrad")


class FlowGradHMaps:
    """Maps of FlowGrad-H as its authors score them, computed when they are read.

    Args:
        sample_ids: ``(n,)``, samples that have flow.
        rcgrad_maps: n maps of RCGrad for them.
        reader: of the feature ``flow``.
    """

    def __init__(self, sample_ids: Sequence[str], rcgrad_maps: Maps, reader: FeatureReader):
        self._rcgrad_maps = rcgrad_maps
        self._flow_maps = FlowMaps(sample_ids, reader, coding="flowgrad")

    def __len__(self) -> int:
        return len(self._flow_maps)

    def __getitem__(self, position: int, /) -> np.ndarray:
        return make_flowgrad_h_map(self._rcgrad_maps[position], self._flow_maps[position])


def make_flowgrad_h_map(rcgrad_map: np.ndarray, flow_map: np.ndarray) -> np.ndarray:
    """Multiply a map of RCGrad by the flow, as FlowGrad's code does.

    Args:
        rcgrad_map: ``(h, w)`` of any size.
        flow_map: float32 ``(224, 224)``, of ``make_flow_map`` with the coding ``flowgrad``.

    Returns:
        float32 ``(224, 224)``; score it as absolute.
    """
    # Up to the multiplication, what the protocol does with any map of RCGrad.
    cleaned = upsample(rcgrad_map, how=_PROTOCOL.upsampling)
    cleaned = normalize(cleaned, _PROTOCOL, low=cleaned.min(), high=cleaned.max())
    median = np.partition(cleaned, MEDIAN_INDEX, axis=None)[MEDIAN_INDEX]
    return np.where(cleaned < median, np.float32(0), cleaned) * flow_map
