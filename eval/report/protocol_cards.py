"""What each protocol does with a map, in words: from its definition, and what else is known about its papers."""

from collections.abc import Sequence

from eval.report.markup import Html, element
from eval.scoring.protocols import PROTOCOLS

_TITLES = {
    "earshot": "Earshot (the default)",
    "lvs": "LVS, Chen et al. 2021",
    "ezvsl": "EZ-VSL, Mo and Morgado 2022",
    "ezvsl_val": "EZ-VSL while training",
    "htf": "Hear The Flow, Fedorishin et al. 2023",
    "rcgrad": "RCGrad, Wu et al. 2022",
    "flowgrad": "FlowGrad, Singh et al. 2023",
}
_UPSAMPLINGS = {
    "cv2_linear": "bilinear (OpenCV)",
    "cv2_cubic": "bicubic (OpenCV)",
    "torch_bilinear_corners": "bilinear, corners aligned (torch)",
    "torch_bicubic": "bicubic (torch)",
}
_THRESHOLDS = {
    "own_area": "the highest values, as many pixels as the ground truth has",
    "above_median": "what is strictly above the median value: half of the frame",
    "from_median": "what is at or above the median value: half of the frame",
    "half_from_median": "what is at or above 0.5 of the map's range, after values below the median were set to 0",
}
_HALF = "Half of the frame is always marked, so no map can be perfect: compare with the row of the ceiling."
_REMARKS = {
    "earshot": "No method gains by marking a lucky size, and a perfect map scores 1.",
    "lvs": _HALF,
    "ezvsl": f"{_HALF} The published checkpoint was chosen on the test set.",
    "ezvsl_val": f"{_HALF} With it the authors chose their checkpoint, on the test set.",
    "htf": f"{_HALF} The published checkpoint was chosen on the test set; its test sets have 178 and 4,670 samples.",
    "rcgrad": "The authors' code leaves the audio encoder in training mode at test time.",
    "flowgrad": "The authors' code counts success at 0.3, their paper says 0.5; their table fits 0.3. "
    "Samples without flow are left out in their code, so n differs between methods.",
}


def render_cards(protocols: Sequence[str]) -> Html:
    """A card for each protocol that the results use."""
    cards = []
    for name in protocols:
        facts = _facts_of(name)
        heading = element("h3", _TITLES.get(name, name), " ", element("code", name))
        entries = [
            element("div", element("dt", title), element("dd", text)) for title, text in facts
        ]
        cards.append(element("article", heading, element("dl", entries), class_="card protocol"))
    common = element(
        "p",
        "For one sample, cIoU = found inside the truth / (truth + found outside of it), on 224 x 224 pixels. ",
        "Success rate: the share of samples whose cIoU reaches the threshold. AUC: the area under that rate over ",
        "the thresholds 0, 0.05, ... 1. Brackets hold 95\N{NO-BREAK SPACE}% intervals by bootstrap over the samples.",
    )
    return element("div", common, element("div", cards, class_="cards"))


def _facts_of(name: str) -> list[tuple[str, str]]:
    protocol = PROTOCOLS.get(name)
    if protocol is None:
        return [("Protocol", "not one of Earshot's own: ask whoever computed it.")]
    return [
        (
            "The map becomes 224 x 224 by",
            _UPSAMPLINGS.get(protocol.upsampling, protocol.upsampling),
        ),
        ("Counted as found", _THRESHOLDS.get(protocol.threshold, protocol.threshold)),
        ("A success is a cIoU of at least", f"{protocol.published_at:g}"),
        ("Keep in mind", _REMARKS.get(name, protocol.summary)),
    ]
