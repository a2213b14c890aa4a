"""Scenes of the sample dataset as data: which objects are where, how they move, which of them sound.

Two kinds. ``single``: one object, which sounds, before a still background; some sources stand still. ``traffic``: one
or two objects sound and move; the first has a parked look-alike (same look, silent), others move in silence. Nothing
is drawn here; ``pipeline/rendering.py`` draws.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.sprites import CLASS_NAMES

KINDS = ("single", "traffic")
FRAME_SIZES = ((288, 256), (256, 256), (256, 288))  # width, height
_STILL_SOURCE_FRACTION = 0.1  # of single scenes
_TWO_SOURCES_FRACTION = 0.3  # of traffic scenes
_MAX_OVERLAP = 0.05


@dataclass(frozen=True)
class Actor:
    """One object. Its centre is ``(x, y)`` at rest plus ``(amplitude_x, amplitude_y) * sin(2 pi f t + phase)``.

    Positions and amplitudes in pixels, ``frequency`` in Hz, ``width`` of the sprite in pixels. Frequency 0 is parked.
    """

    class_name: str
    tone: float
    width: int
    height: int
    x: float
    y: float
    amplitude_x: float
    amplitude_y: float
    frequency: float
    phase: float
    is_facing_left: bool
    is_sounding: bool
    loudness: float

    @property
    def is_moving(self) -> bool:
        return self.frequency > 0

    def position(self, time_seconds):
        """Centre in pixels at a time (or an array of times)."""
        swing = np.sin(2 * np.pi * self.frequency * np.asarray(time_seconds) + self.phase) if self.is_moving else 0.0
        return self.x + self.amplitude_x * swing, self.y + self.amplitude_y * swing

    def activity(self, time_seconds):
        """Speed as a fraction of the fastest, in [0, 1]; an object that sounds at rest has a constant 0.7."""
        if not self.is_moving:
            return np.full(np.shape(time_seconds), 0.7 if self.is_sounding else 0.0)
        return np.abs(np.cos(2 * np.pi * self.frequency * np.asarray(time_seconds) + self.phase))


@dataclass(frozen=True)
class Scene:
    """A clip to be: frame size in pixels, the sample's moment, the objects from back to front.

    ``place_seed`` determines the backdrop (clips of one place share it, as those of a fixed camera do), ``sound_seed``
    the noise in the sound.
    """

    kind: str
    width: int
    height: int
    time_seconds: float
    actors: tuple[Actor, ...]
    place_seed: int
    sound_seed: int


def make_scene(kind: str, *, time_seconds: float, place_seed: int, rng: np.random.Generator, aspect_of) -> Scene:
    """Draw a scene at random; ``time_seconds`` is when its sources are surely moving and nothing overlaps.

    ``aspect_of(class_name)`` is a look's height over its width.
    """
    width, height = FRAME_SIZES[place_seed % len(FRAME_SIZES)]
    while True:
        wanted = _cast(kind, rng)
        actors = _place(wanted, width, height, time_seconds, rng, aspect_of)
        if actors is not None:
            return Scene(kind, width, height, time_seconds, actors, place_seed, int(rng.integers(2**32)))


def _cast(kind: str, rng: np.random.Generator) -> list[dict]:
    """Who plays: class, tone, whether it moves and sounds; the first to be placed first."""
    classes = [str(name) for name in rng.permutation(CLASS_NAMES)]
    tones = rng.uniform(size=len(classes))
    if kind == "single":
        is_moving = rng.uniform() >= _STILL_SOURCE_FRACTION
        return [_role(classes[0], tones[0], is_moving=is_moving, is_sounding=True)]
    num_sources = 2 if rng.uniform() < _TWO_SOURCES_FRACTION else 1
    num_silent_movers = 2
    cast = [_role(classes[i], tones[i], is_moving=True, is_sounding=True) for i in range(num_sources)]
    cast.append(_role(classes[0], tones[0], is_moving=False, is_sounding=False))
    for i in range(num_sources, num_sources + num_silent_movers):
        cast.append(_role(classes[i], tones[i], is_moving=True, is_sounding=False))
    return cast


def _role(class_name: str, tone: float, *, is_moving: bool, is_sounding: bool) -> dict:
    return {"class_name": class_name, "tone": float(tone), "is_moving": is_moving, "is_sounding": is_sounding}


def _place(wanted, width, height, time_seconds, rng, aspect_of) -> tuple[Actor, ...] | None:
    """Find places without overlap at the moment; None when the frame is too crowded."""
    scale = (0.36, 0.52) if len(wanted) == 1 else (0.27, 0.37)
    placed: list[Actor] = []
    for role in wanted:
        for _ in range(40):
            actor = _random_actor(role, width, height, time_seconds, scale, rng, aspect_of)
            if all(_overlap(actor, other, time_seconds) <= _MAX_OVERLAP for other in placed):
                placed.append(actor)
                break
        else:
            return None
    return tuple(reversed(placed))  # sources in front


def _random_actor(role, width, height, time_seconds, scale, rng, aspect_of) -> Actor:
    # Looks are of about the same area whatever their proportions.
    aspect = aspect_of(role["class_name"])
    sprite_width = round(rng.uniform(*scale) * min(width, height) / np.sqrt(aspect) * 0.85)
    sprite_height = round(sprite_width * aspect)
    # What moves most is not always what sounds: silent objects are a little livelier.
    frequency = rng.uniform(0.40, 0.70) if role["is_sounding"] else rng.uniform(0.50, 0.85)
    frequency = frequency if role["is_moving"] else 0.0
    is_vertical = rng.uniform() < 0.3
    reach = rng.uniform(16, 30)
    amplitude_x, amplitude_y = (0.35 * reach, reach) if is_vertical else (reach, 0.2 * reach)
    amplitude_x *= rng.choice((-1, 1))
    if not role["is_moving"]:
        amplitude_x = amplitude_y = 0.0
    # The swing is near its middle, where it is fastest, at the sample's moment.
    phase = np.pi * rng.integers(2) + rng.uniform(-0.7, 0.7) - 2 * np.pi * frequency * time_seconds
    margin_x = sprite_width / 2 + abs(amplitude_x) + 2
    margin_y = sprite_height / 2 + abs(amplitude_y) + 2
    return Actor(
        class_name=role["class_name"],
        tone=float(role["tone"]),
        width=sprite_width,
        height=sprite_height,
        x=rng.uniform(margin_x, width - margin_x),
        y=rng.uniform(margin_y, height - margin_y),
        amplitude_x=float(amplitude_x),
        amplitude_y=float(amplitude_y),
        frequency=float(frequency),
        phase=float(phase),
        is_facing_left=bool(rng.uniform() < 0.5),
        is_sounding=bool(role["is_sounding"]),
        loudness=float(rng.uniform(0.75, 1.0)),
    )


def _overlap(first: Actor, second: Actor, time_seconds: float) -> float:
    """Overlap of two objects' rectangles as a fraction of the smaller one."""
    x1, y1 = first.position(time_seconds)
    x2, y2 = second.position(time_seconds)
    across = (first.width + second.width) / 2 - abs(x1 - x2)
    down = (first.height + second.height) / 2 - abs(y1 - y2)
    if across <= 0 or down <= 0:
        return 0.0
    return across * down / min(first.width * first.height, second.width * second.height)
