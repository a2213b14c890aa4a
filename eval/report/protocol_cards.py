"""What each protocol does with a map, in words (PROTOCOLS: read from the papers and the authors' public code)."""

from collections.abc import Sequence

from eval.report.markup import Html, element

CARDS = {
    "earshot": (
        "Earshot (default)",
        ("Map", "resized to 224 x 224, bilinear, then min-max normalized"),
        ("Counts as found", "as many pixels as the ground truth has (adaptive cIoU)"),
        ("Success", "cIoU ≥ 0.5"),
        ("Besides", "pointing accuracy: is the maximum inside a box; 95 % intervals by bootstrap over samples"),
    ),
    "lvs": (
        "LVS (Chen 2021)",
        ("Map", "resized to 224 x 224, OpenCV linear"),
        ("Counts as found", "strictly above the median value: half of the image"),
        ("Success", "cIoU ≥ 0.5"),
        ("Keep in mind", "no map can be perfect: see the ceiling row"),
    ),
    "ezvsl": (
        "EZ-VSL (Mo 2022)",
        ("Map", "resized to 224 x 224, bilinear with aligned corners (validation: bicubic)"),
        ("Counts as found", "at or above the median value: half of the image"),
        ("Success", "cIoU ≥ 0.5"),
        ("Keep in mind", "published: chosen on the test set; no map can be perfect: see the ceiling row"),
    ),
    "htf": (
        "Hear The Flow (Fedorishin 2023)",
        ("Map", "resized to 224 x 224, OpenCV cubic"),
        ("Counts as found", "strictly above the median value: half of the image"),
        ("Success", "cIoU ≥ 0.5"),
        ("Keep in mind", "published: chosen on the test set; smaller test sets (178 and 4,670 samples)"),
    ),
    "rcgrad": (
        "RCGrad (Huang 2023)",
        ("Map", "resized to 224 x 224, OpenCV linear inside Grad-CAM; values below the median set to 0"),
        ("Counts as found", "min-max normalized, at or above 0.5"),
        ("Success", "cIoU ≥ 0.5"),
        ("Keep in mind", "the audio encoder never leaves training mode in the published code"),
    ),
    "flowgrad": (
        "FlowGrad (Singh 2024)",
        ("Map", "resized to 224 x 224, OpenCV linear inside Grad-CAM; values below the median set to 0"),
        ("Counts as found", "min-max normalized, at or above 0.5"),
        ("Success", "cIoU ≥ 0.3 in the published code, 0.5 in its paper; the published table fits 0.3"),
        ("Keep in mind", "samples without flow are left out in the published code, so n differs between models"),
    ),
}  # fmt: skip


def card_of(protocol: str) -> tuple | None:
    """The card of a protocol; a variant such as ``flowgrad_0.3`` has the card of its family."""
    if protocol in CARDS:
        return CARDS[protocol]
    return next((CARDS[name] for name in CARDS if protocol.startswith(name)), None)


def render_cards(protocols: Sequence[str]) -> Html:
    """A card for each protocol that the results use."""
    cards = []
    for protocol in protocols:
        card = card_of(protocol)
        if card is None:
            facts = [(element("dt", "Protocol"), element("dd", "not one of Earshot's own; see who computed it"))]
            title = protocol
        else:
            facts = [(element("dt", name), element("dd", text)) for name, text in card[1:]]
            title = card[0]
        heading = element("h3", title, " ", element("code", protocol))
        cards.append(element("article", heading, element("dl", [list(pair) for pair in facts]), class_="card protocol"))
    common = element(
        "p",
        "For one sample, cIoU = Σ(found · truth) / (Σ truth + Σ found where truth is 0), on a 224 x 224 grid. ",
        "Success rate: the share of samples at or above the threshold. AUC: the area under the success rate over the ",
        "thresholds 0, 0.05, …, 1. The numbers in brackets are 95 % intervals by bootstrap over samples.",
    )
    return element("div", common, element("div", cards, class_="cards"))
