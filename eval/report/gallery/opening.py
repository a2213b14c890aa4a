"""The pictures that the page opens with: the best, the median and the worst of a test set.

They are drawn without JavaScript: a frame, the map over it, and the outlines as SVG.
``templates/section_summary.html`` shows them.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from eval.report.data.sample_scores import SampleScores, column_of
from eval.report.gallery.cards import Card, encode_base64
from eval.scoring.ground_truth import GRID
from pipeline.features import pictures

_NUM_FAILURES = 6  # the samples that follow the worst one


@dataclass(frozen=True)
class OpeningChoice:
    """The samples of the opening: ids, and the model whose maps they show."""

    model: str
    best: str
    median: str
    worst: str
    failures: tuple[str, ...]  # the next worst

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """All of them, in the order of the page."""
        return (self.best, self.median, self.worst, *self.failures)


@dataclass(frozen=True)
class OpeningPicture:
    """A sample with its map; pictures and sound are base64, empty where there is none."""

    role: str
    sample_id: str
    label: str
    score: float
    frame: str  # WebP
    width: int
    height: int
    heat: str  # PNG with opacity
    outline: str  # path of SVG on a grid of 224 x 224: what is scored
    boxes: tuple[tuple[float, float, float, float], ...]  # x, y, width, height on that grid
    sound: str  # MP3


@dataclass(frozen=True)
class Opening:
    """The opening: three pictures, and a strip of failures."""

    dataset: str
    subset: str
    model: str
    pictures: tuple[OpeningPicture, ...] = ()
    failures: tuple[OpeningPicture, ...] = ()


def choose_opening(scores: SampleScores, *, model: str, metric: str) -> OpeningChoice | None:
    """Choose the samples of the opening.

    Args:
        scores: Of the samples of the main test set.
        model: Ranks them; equal scores are ranked by id.
        metric: One of ``METRIC_TITLES``.

    Returns:
        The choice; None where fewer than three samples are scored.
    """
    column = column_of(metric)
    values = {
        sample_id: numbers[column]
        for sample_id, numbers in scores.values.get(model, {}).items()
        if column in numbers
    }
    # Best, median and worst must be three samples.
    if len(values) < 3:
        return None

    ranked = sorted(values, key=lambda sample_id: (values[sample_id], sample_id))
    middle = (len(ranked) - 1) // 2
    return OpeningChoice(
        model,
        best=ranked[-1],
        median=ranked[middle],
        worst=ranked[0],
        # All below the median, so that no sample is shown twice.
        failures=tuple(ranked[1 : min(1 + _NUM_FAILURES, middle)]),
    )


def view_opening(
    choice: OpeningChoice,
    cards: Sequence[Card],
    *,
    dataset: str,
    subset: str,
    metric: str,
) -> Opening | None:
    """Return the opening, drawn from the cards of the gallery.

    Args:
        choice: The samples.
        cards: All cards of the page; a sample without a card or a frame is left out.
        dataset: The dataset of the samples.
        subset: Their test set.
        metric: The metric that ranked them.

    Returns:
        The opening; None where no picture is left.
    """
    card_of = {card["id"]: card for card in cards if card["dataset"] == dataset and "frame" in card}

    def draw(role: str, sample_id: str) -> tuple[OpeningPicture, ...]:
        card = card_of.get(sample_id)
        # The gallery can have left this sample out, or have no frame of it.
        return () if card is None else (_draw(role, card, choice.model, column_of(metric)),)

    roles = (("best", choice.best), ("median", choice.median), ("worst", choice.worst))
    large = tuple(picture for role, name in roles for picture in draw(role, name))
    small = tuple(picture for name in choice.failures for picture in draw("", name))
    return Opening(dataset, subset, choice.model, large, small) if large else None


def _draw(role: str, card: Card, model: str, column: str) -> OpeningPicture:
    width, height = card["size"]
    packed = card["maps"].get(model, {})
    return OpeningPicture(
        role=role,
        sample_id=card["id"],
        label=card["label"],
        score=card["scores"][model][column],
        frame=card["frame"],
        width=width,
        height=height,
        heat=_draw_heat(packed),
        outline=packed.get("outline", ""),
        # As SVG wants a rectangle: corner and size, in a picture of 224 x 224 units.
        boxes=tuple(
            (x1 * GRID, y1 * GRID, (x2 - x1) * GRID, (y2 - y1) * GRID)
            for x1, y1, x2, y2 in card["boxes"]
        ),
        sound=card.get("sound", ""),
    )


def _draw_heat(packed: Mapping) -> str:
    """Return a packed map as PNG, or nothing where there is no map."""
    if not packed:
        return ""
    data = np.frombuffer(base64.b64decode(packed["data"]), np.uint8)
    values = data.reshape(packed["h"], packed["w"]) / np.float32(255)

    # larger than the grid, so that all browsers blend its cells in the same way
    side = (packed["w"] * 4, packed["h"] * 4)
    heat = pictures.colour_map(cv2.resize(values, side, interpolation=cv2.INTER_LINEAR))
    # OpenCV wants blue first.
    is_written, png = cv2.imencode(".png", cv2.cvtColor(heat, cv2.COLOR_RGBA2BGRA))
    assert is_written
    return encode_base64(png.tobytes())
