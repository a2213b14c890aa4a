"""FlowGrad's evaluation rules (Singh et al., ICASSP 2023): which moments and boxes count.

- Audio events with the label ``offscreen`` or ``non_identifiable_vehicle_sound`` = 1 are dropped.
- Boxes with a negative x, y, w or h, or with a visibility other than 1, are dropped.
- A box counts if a remaining event of its file strictly spans its time.
- Each (file, time) with a box is one sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

FLOW_FRAMES_PER_SECOND = 8


@dataclass
class Moment:
    """One sample: what the rules leave of a file at a time."""

    clip_id: str
    time_seconds: float
    attributes: dict[str, str]
    # x, y, width, height of each box in pixels of the annotated video, and its label.
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


def apply_rules(video_rows: Sequence[dict], audio_rows: Sequence[dict]) -> list[Moment]:
    """Return the samples in the order of the annotations.

    Args:
        video_rows: Of ``release.read_video_annotations``.
        audio_rows: Of ``release.read_audio_annotations``.
    """
    # The sounds that count, by file: [(start, end), ...] in seconds.
    events: dict[str, list[tuple[float, float]]] = {}
    for row in audio_rows:
        if row["label"] != "offscreen" and row["non_identifiable_vehicle_sound"] == 0:
            events.setdefault(row["filename"], []).append((row["start"], row["end"]))

    moments: dict[tuple[str, int], Moment] = {}
    for row in video_rows:
        box, time_seconds = (row["x"], row["y"], row["w"], row["h"]), row["time"]
        if min(box) < 0 or row["visibility"] != 1:
            continue
        # "Strictly": at the very beginning or end of an event there is no sound. The sentinel -1
        # for "no event" spans nothing.
        if not any(start < time_seconds < end for start, end in events.get(row["filename"], ())):
            continue

        # Milliseconds: a time that is rounded in one row must not become a second sample.
        key = (row["filename"], round(time_seconds * 1000))
        if key not in moments:
            attributes = {name: row[name] for name in ("city", "location_id", "night", "subset")}
            attributes["frame_at_8_fps"] = str(round(time_seconds * FLOW_FRAMES_PER_SECOND))
            moments[key] = Moment(row["filename"], time_seconds, attributes)

        moments[key].boxes.append(box)
        moments[key].labels.append(row["label"])
    return list(moments.values())
