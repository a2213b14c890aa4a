"""What one can choose above the gallery, and what ``templates/gallery.js`` draws it from.

``templates/section_gallery.html`` shows the form.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from eval.report.gallery.cards import Card, encode_base64
from eval.report.sections.protocol_cards import name_protocol
from eval.scoring.protocols import PROTOCOLS
from pipeline.features import pictures


@dataclass(frozen=True)
class GalleryForm:
    """What one can choose in the form above the gallery."""

    datasets: list[str]
    subsets: list[str]
    classes: list[str]
    scored_models: list[str]
    mapped_models: list[tuple[str, bool]]  # with whether its maps are shown at first
    protocol: str
    colour_wheel: str  # base64 PNG
    num_samples: int


def view_form(
    cards: Sequence[Card],
    models: Sequence[str],
    *,
    shown: Collection[str] = (),
    protocol: str = "",
) -> GalleryForm | None:
    """Return the form that filters ``cards``, or None where there are no cards.

    Args:
        cards: Of the gallery.
        models: In the order of the page.
        shown: Models whose maps are shown at first.
        protocol: Of the scores.
    """
    if not cards:
        return None

    def collect(values_of: Callable[[Card], Iterable[str]]) -> list[str]:
        """Return the values of all cards, each once, in alphabetical order."""
        return sorted({value for card in cards for value in values_of(card) if value})

    # A model without any map or score has nothing to choose.
    mapped = [name for name in models if any(name in card["maps"] for card in cards)]
    wheel = pictures.encode(pictures.draw_colour_wheel(96), ".png")
    return GalleryForm(
        datasets=collect(lambda card: [card["dataset"]]),
        subsets=collect(lambda card: card["subsets"]),
        classes=collect(lambda card: card["label"].split("+")),  # two sources have two classes
        scored_models=[name for name in models if any(name in card["scores"] for card in cards)],
        mapped_models=[(name, name in shown) for name in mapped],
        protocol=name_protocol(protocol),
        colour_wheel=encode_base64(wheel),
        num_samples=len(cards),
    )


def view_gallery_data(
    cards: Sequence[Card], models: Sequence[str], *, protocol: str = ""
) -> dict[str, object]:
    """Return what ``gallery.js`` draws the gallery from.

    Args:
        cards: Of the gallery.
        models: In the order of the page.
        protocol: Of the scores; its authors' success is what "right" means.
    """
    known = PROTOCOLS.get(protocol)
    return {
        "models": list(models),
        "samples": list(cards),
        "heat": {"colours": pictures.HEAT_COLOURS, "opacity": pictures.HEAT_OPACITY},
        "success": known.published_at if known else 0.5,
    }
