"""Say in words what each protocol does with a map: its definition, and remarks on its papers.

``templates/section_protocols.html`` shows the cards.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from eval.scoring.protocols import PROTOCOLS

# By the names of eval.scoring.protocols; a name that is absent here is shown as it is.
_TITLES = {
    "earshot": "Earshot (the default)",
    "lvs": "LVS, Chen et al. 2021",
    "ezvsl": "EZ-VSL, Mo and Morgado 2022",
    "ezvsl_val": "EZ-VSL in training, Mo and Morgado 2022",
    "htf": "Hear The Flow, Fedorishin et al. 2023",
    "rcgrad": "RCGrad, Wu et al. 2022",
    "flowgrad": "FlowGrad, Singh et al. 2023",
    "slavc": "SLAVC, Mo and Morgado 2022",
    "sspl": "SSPL, Song et al. 2022",
    "sslalignment": "SSLalignment, Senocak et al. 2023",
    "sslalignment_adaptive": "SSLalignment adaptive, Senocak et al. 2023",
    "sslalignment_adaptive_vggss": "SSLalignment adaptive on VGG-SS, Senocak et al. 2023",
}
_UPSAMPLINGS = {
    "cv2_linear": "bilinear (OpenCV)",
    "cv2_cubic": "bicubic (OpenCV)",
    "torch_bilinear_corners": "bilinear, corners aligned (torch)",
    "torch_bicubic": "bicubic (torch)",
}
_THRESHOLDS = {
    "own_area": "the highest values, as many pixels as the ground truth has",
    "above_own_area": "what is strictly above the k-th largest value, for k pixels of ground truth",
    "half_range": "what is at or above half of the range of the map",
    "above_median": "what is strictly above the median value: half of the frame",
    "from_median": "what is at or above the median value: half of the frame",
    "half_from_median": "what is at or above 0.5 of the map's range, after values below the median "
    "were set to 0",
}
_HALF = (
    "Half of the frame is always marked, so no map can be perfect: compare with the row of the "
    "ceiling."
)
_REMARKS = {
    "earshot": "No method gains by marking a lucky size, and a perfect map scores 1.",
    "lvs": _HALF,
    "ezvsl": f"{_HALF} The published checkpoint was chosen on the test set.",
    "ezvsl_val": f"{_HALF} With it the authors chose their checkpoint, on the test set.",
    "htf": f"{_HALF} The published checkpoint was chosen on the test set; its test sets have 178 "
    "and 4,670 samples.",
    "rcgrad": "The authors' code leaves the audio encoder in training mode at test time.",
    "flowgrad": "The authors' code counts success at 0.3, their paper says 0.5; their table fits "
    "0.3. Flow, boxes and the product of FlowGrad-H are not normalized: a pixel counts from 0.5 "
    "on. Samples without flow or without a detection are left out, so n differs between methods.",
}


@dataclass(frozen=True)
class ProtocolCard:
    """What one protocol does with a map: ``facts`` are pairs of a title and a text."""

    name: str
    title: str
    facts: tuple[tuple[str, str], ...]


def name_protocol(name: str) -> str:
    """Return a protocol's name as it is read: ``EZ-VSL`` for ``ezvsl``."""
    title = _TITLES.get(name, name).split(",")[0]
    return title.removesuffix(" (the default)")


def view_protocols(names: Iterable[str]) -> list[ProtocolCard]:
    """Return a card for each protocol of ``names``."""
    return [ProtocolCard(name, _TITLES.get(name, name), _facts_of(name)) for name in names]


def _facts_of(name: str) -> tuple[tuple[str, str], ...]:
    protocol = PROTOCOLS.get(name)
    if protocol is None:
        return (("Protocol", "not one of Earshot's own: ask whoever computed it."),)

    upsampling = _UPSAMPLINGS.get(protocol.upsampling, protocol.upsampling)
    threshold = _THRESHOLDS.get(protocol.threshold, protocol.threshold)
    return (
        ("Upsampling to 224 x 224", upsampling),
        ("Marked area", threshold),
        ("Success threshold", f"{protocol.published_at:g}"),
        ("Caution", _REMARKS.get(name, protocol.summary)),
    )
