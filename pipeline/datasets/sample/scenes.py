"""Scenes of the sample dataset as data: which objects are where, how they move, which of them sound.

Two kinds. ``single``: one object, which sounds, before a still background; some sources stand still. ``traffic``: a
street of two lanes, seen from the side. In the far lane everything faces left, in the near one right; one of them
flows, the other is held up. One or two objects sound and drive, another drives in silence; what waits is silent.
Nothing is drawn here; ``pipeline/datasets/sample/rendering.py`` draws.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.datasets.sample.sprites import CLASS_NAMES

KINDS = ("single", "traffic")
FRAME_SIZES = ((288, 256), (256, 256), (256, 288))  # width, height
_STILL_SOURCE_FRACTION = 0.1  # of single scenes
_TWO_SOURCES_FRACTION = 0.3  # of traffic scenes
_NUM_SILENT_MOVERS = 1  # of traffic scenes
_SWING = 0.5  # how far a driving object's speed departs from its mean, as a fraction of it
_GAP = 3  # pixels between objects in a lane, at least
_LEAST_SEEN = 0.3  # of a source's width; a full lane runs over the frame's right edge


@dataclass(frozen=True)
class Actor:
    """One object. Its centre is ``(x + speed * t, y)`` plus ``(amplitude_x, amplitude_y) * sin(2 pi f t + phase)``.

    Positions and amplitudes in pixels, ``frequency`` in Hz, ``speed`` in pixels a second (negative: leftwards),
    ``width`` of the sprite in pixels. Frequency 0 is parked.
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
    speed: float = 0.0

    @property
    def is_moving(self) -> bool:
        return self.frequency > 0

    def position(self, time_seconds):
        """Centre in pixels at a time (or an array of times)."""
        times = np.asarray(time_seconds)
        swing = np.sin(2 * np.pi * self.frequency * times + self.phase) if self.is_moving else 0.0
        return (
            self.x + self.speed * times + self.amplitude_x * swing,
            self.y + self.amplitude_y * swing,
        )

    def activity(self, time_seconds):
        """Speed as a fraction of the fastest, in [0, 1]; an object that sounds at rest has a constant 0.7."""
        if not self.is_moving:
            return np.full(np.shape(time_seconds), 0.7 if self.is_sounding else 0.0)
        swing = np.cos(2 * np.pi * self.frequency * np.asarray(time_seconds) + self.phase)
        if self.speed == 0:
            return np.abs(swing)
        fastest_swing = 2 * np.pi * self.frequency * self.amplitude_x
        return np.abs(self.speed + fastest_swing * swing) / (abs(self.speed) + abs(fastest_swing))


@dataclass(frozen=True)
class Scene:
    """A clip to be: frame size in pixels, the sample's moment, the objects from back to front.

    ``place_seed`` determines the backdrop (clips of one place share it, as those of a fixed camera do), ``sound_seed``
    the noise in the sound; ``lanes`` are the middles of a street's far and near lane in pixels from the top.
    """

    kind: str
    width: int
    height: int
    time_seconds: float
    actors: tuple[Actor, ...]
    place_seed: int
    sound_seed: int
    lanes: tuple[float, ...] = ()


def make_scene(
    kind: str,
    *,
    time_seconds: float,
    place_seed: int,
    rng: np.random.Generator,
    aspect_of,
    has_look_alike: bool = True,
) -> Scene:
    """Draw a scene at random; ``time_seconds`` is when its sources are surely moving and nothing overlaps.

    ``aspect_of(class_name)`` is a look's height over its width. ``has_look_alike``: of what waits in a ``traffic``
    scene one object looks like the first source; otherwise what waits is drawn without regard to what drives.
    """
    width, height = FRAME_SIZES[place_seed % len(FRAME_SIZES)]
    classes = [str(name) for name in rng.permutation(CLASS_NAMES)]
    tones = [float(tone) for tone in rng.uniform(size=len(classes))]
    looks = [Look(name, tone, aspect_of(name)) for name, tone in zip(classes, tones, strict=True)]
    lanes: tuple[float, ...] = ()
    if kind == "single":
        actors = (_make_swinging(looks[0], width, height, time_seconds, rng),)
    else:
        lanes, actors = _make_lanes(height, np.random.default_rng(place_seed)), ()
        while not actors or any(
            _seen_fraction(actor, width, time_seconds) < _LEAST_SEEN
            for actor in actors
            if actor.is_sounding
        ):
            actors = _make_traffic(
                looks, lanes, width, height, time_seconds, rng, has_look_alike=has_look_alike
            )
    return Scene(
        kind, width, height, time_seconds, actors, place_seed, int(rng.integers(2**32)), lanes
    )


@dataclass(frozen=True)
class Look:
    """What an object looks and sounds like: its class, its place in the class's range of hue and pitch, its shape."""

    class_name: str
    tone: float
    aspect: float

    def size(self, frame_side: int, scale: float) -> tuple[int, int]:
        """Width and height in pixels; looks are of about the same area whatever their proportions."""
        width = round(scale * frame_side / np.sqrt(self.aspect) * 0.85)
        return width, round(width * self.aspect)


def _make_swinging(
    look: Look, width: int, height: int, time_seconds: float, rng: np.random.Generator
) -> Actor:
    """The source of a ``single`` scene: it swings about a place anywhere in the frame, or sounds at rest."""
    is_moving = rng.uniform() >= _STILL_SOURCE_FRACTION
    sprite_width, sprite_height = look.size(min(width, height), rng.uniform(0.36, 0.52))
    frequency = rng.uniform(0.40, 0.70) if is_moving else 0.0
    reach = rng.uniform(16, 30) if is_moving else 0.0
    amplitude_x, amplitude_y = (
        (0.35 * reach, reach) if rng.uniform() < 0.3 else (reach, 0.2 * reach)
    )
    margin_x = sprite_width / 2 + amplitude_x + 2
    margin_y = sprite_height / 2 + amplitude_y + 2
    return Actor(
        class_name=look.class_name,
        tone=look.tone,
        width=sprite_width,
        height=sprite_height,
        x=rng.uniform(margin_x, width - margin_x),
        y=rng.uniform(margin_y, height - margin_y),
        amplitude_x=float(amplitude_x * rng.choice((-1, 1))),
        amplitude_y=float(amplitude_y),
        frequency=float(frequency),
        # The swing is near its middle, where it is fastest, at the sample's moment.
        phase=float(
            np.pi * rng.integers(2) + rng.uniform(-0.7, 0.7) - 2 * np.pi * frequency * time_seconds
        ),
        is_facing_left=bool(rng.uniform() < 0.5),
        is_sounding=True,
        loudness=float(rng.uniform(0.75, 1.0)),
    )


def _seen_fraction(actor: Actor, frame_width: int, time_seconds: float) -> float:
    """How much of an object's width lies within the frame."""
    x, _ = actor.position(time_seconds)
    left, right = max(0.0, x - actor.width / 2), min(frame_width, x + actor.width / 2)
    return max(0.0, right - left) / actor.width


def _make_lanes(height: int, rng: np.random.Generator) -> tuple[float, float]:
    """Middles of a place's far and near lane in pixels from the top."""
    return float(height * rng.uniform(0.27, 0.33)), float(height * rng.uniform(0.69, 0.75))


def _make_traffic(
    looks, lanes, width, height, time_seconds, rng, *, has_look_alike
) -> tuple[Actor, ...]:
    """Everything in a street, from back to front."""
    num_sources, num_waiting_sources = (
        2 if rng.uniform() < _TWO_SOURCES_FRACTION else 1 for _ in range(2)
    )
    num_moving = num_sources + _NUM_SILENT_MOVERS
    # As many wait as drive in another scene: the number in a lane does not tell which one flows.
    num_waiting = num_waiting_sources + _NUM_SILENT_MOVERS
    waiting = [looks[index] for index in rng.permutation(len(looks))[:num_waiting]]
    if has_look_alike and looks[0] not in waiting:
        waiting[0] = looks[0]
    flowing = int(rng.integers(2))
    actors: list[Actor] = []
    for lane, y in enumerate(lanes):
        is_moving = lane == flowing
        cast = looks[:num_moving] if is_moving else waiting
        roles = [(look, is_moving and index < num_sources) for index, look in enumerate(cast)]
        roles = [roles[index] for index in rng.permutation(len(roles))]
        actors += _make_lane(
            roles,
            y,
            is_leftward=lane == 0,
            is_moving=is_moving,
            width=width,
            height=height,
            time_seconds=time_seconds,
            rng=rng,
        )
    return tuple(actors)


def _make_lane(
    roles, y, *, is_leftward, is_moving, width, height, time_seconds, rng
) -> list[Actor]:
    """Objects in a row, at random gaps; ``roles`` are (look, whether it sounds), from left to right."""
    sizes = [look.size(min(width, height), rng.uniform(0.27, 0.37)) for look, _ in roles]
    free = width - sum(size[0] + _GAP for size in sizes) - _GAP
    gaps = rng.dirichlet(np.ones(len(roles) + 1)) * max(0, free) + _GAP
    mean_speed = rng.uniform(38, 60)  # of the sources; with the swing at most 90 pixels a second
    actors, left = [], 0.0
    for (look, is_sounding), (sprite_width, sprite_height), gap in zip(
        roles, sizes, gaps, strict=False
    ):
        frequency = float(rng.uniform(0.40, 0.70)) if is_moving else 0.0
        # What moves most is not what sounds: those that drive in silence are faster.
        speed = mean_speed * (1.0 if is_sounding else rng.uniform(1.1, 1.4)) if is_moving else 0.0
        speed *= -1 if is_leftward else 1
        amplitude = _SWING * speed / (2 * np.pi * frequency) if is_moving else 0.0
        # Near its fastest at the sample's moment.
        phase = float(rng.uniform(-0.7, 0.7) - 2 * np.pi * frequency * time_seconds)
        x = left + gap + sprite_width / 2  # at the sample's moment
        left = x + sprite_width / 2
        actors.append(
            Actor(
                class_name=look.class_name,
                tone=look.tone,
                width=sprite_width,
                height=sprite_height,
                x=float(
                    x
                    - speed * time_seconds
                    - amplitude * np.sin(2 * np.pi * frequency * time_seconds + phase)
                ),
                y=float(y + rng.uniform(-5, 5)),
                amplitude_x=float(amplitude),
                amplitude_y=0.0,
                frequency=frequency,
                phase=phase,
                is_facing_left=is_leftward,
                is_sounding=is_sounding,
                loudness=float(rng.uniform(0.75, 1.0)),
                speed=float(speed),
            )
        )
    return actors
