"""Scenes of the sample dataset as data: which objects are where, how they move, which sound.

There are two kinds. ``single``: one object, which sounds, in front of a still background; some
sources stand still. ``traffic``: a street of two lanes, seen from the side. Everything in the far
lane faces left, everything in the near lane right. One lane flows, the other is held up. In the
flowing lane one or two objects sound and another drives in silence; what waits is silent.

Nothing is drawn here; ``rendering.py`` draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.datasets.sample.sprites import CLASS_NAMES

KINDS = ("single", "traffic")
FRAME_SIZES = ((288, 256), (256, 256), (256, 288))  # width, height
_STILL_SOURCE_FRACTION = 0.1  # of single scenes
_TWO_SOURCES_FRACTION = 0.3  # of traffic scenes
_NUM_SILENT_MOVERS = 1  # of traffic scenes
_SWING = 0.5  # how far a driving object's speed departs from its mean, as a fraction of the mean
_GAP = 3  # pixels between objects in a lane, at least
_LEAST_SEEN = 0.3  # of a source's width; a full lane runs over the frame's right edge


@dataclass(frozen=True)
class Actor:
    """One object of a scene.

    Its centre at time t is ``(x + speed * t, y)`` plus
    ``(amplitude_x, amplitude_y) * sin(2 pi frequency t + phase)``.
    """

    class_name: str
    tone: float  # 0 to 1: its place in the class's range of hue and pitch
    width: int  # of the sprite, in pixels
    height: int
    x: float  # pixels
    y: float
    amplitude_x: float  # pixels
    amplitude_y: float
    frequency: float  # Hz; 0: parked
    phase: float  # radians
    is_facing_left: bool
    is_sounding: bool
    loudness: float  # 0 to 1
    speed: float = 0.0  # pixels a second; negative: to the left

    @property
    def is_moving(self) -> bool:
        """Whether the object moves at all."""
        return self.frequency > 0

    def position(self, time_seconds: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the centre in pixels at a time, or at an array of times."""
        times = np.asarray(time_seconds, float)
        swing = np.zeros_like(times)
        if self.is_moving:
            swing = np.sin(2 * np.pi * self.frequency * times + self.phase)
        return (
            self.x + self.speed * times + self.amplitude_x * swing,
            self.y + self.amplitude_y * swing,
        )

    def activity(self, time_seconds: float | np.ndarray) -> np.ndarray:
        """Return the speed as a fraction of the fastest, 0 to 1.

        An object that sounds at rest has a constant 0.7.
        """
        if not self.is_moving:
            return np.full(np.shape(time_seconds), 0.7 if self.is_sounding else 0.0)

        # The swing's speed follows the cosine of the phase.
        swing = np.cos(2 * np.pi * self.frequency * np.asarray(time_seconds) + self.phase)
        if self.speed == 0:
            return np.abs(swing)
        fastest_swing = 2 * np.pi * self.frequency * self.amplitude_x
        return np.abs(self.speed + fastest_swing * swing) / (abs(self.speed) + abs(fastest_swing))


@dataclass(frozen=True)
class Scene:
    """Everything that a clip shows and plays."""

    kind: str  # one of `KINDS`
    width: int  # of the frame, in pixels
    height: int
    time_seconds: float  # the sample's moment
    actors: tuple[Actor, ...]  # from back to front
    place_seed: int  # of the backdrop: clips of one place share it, as with a fixed camera
    sound_seed: int  # of the noise in the sound
    lanes: tuple[float, ...] = ()  # middles of the far and the near lane, in pixels from the top


@dataclass(frozen=True)
class Look:
    """What an object looks and sounds like."""

    class_name: str
    tone: float  # 0 to 1: its place in the class's range of hue and pitch
    aspect: float  # height over width

    def size(self, frame_side: int, scale: float) -> tuple[int, int]:
        """Return width and height in pixels; looks of one scale have about the same area."""
        width = round(scale * frame_side / np.sqrt(self.aspect) * 0.85)
        return width, round(width * self.aspect)


def make_scene(
    kind: str,
    *,
    time_seconds: float,
    place_seed: int,
    rng: np.random.Generator,
    aspect_of: Callable[[str], float],
    has_look_alike: bool = True,
) -> Scene:
    """Draw a scene at random.

    Args:
        kind: One of ``KINDS``.
        time_seconds: The sample's moment. At that moment moving sources are near their fastest
            and nothing overlaps.
        place_seed: Determines backdrop, frame size and lanes.
        rng: For everything else.
        aspect_of: Class name -> height over width of its look.
        has_look_alike: In a ``traffic`` scene, one waiting object looks like the first source.
            Otherwise waiting objects are drawn without regard to those that drive.
    """
    # The size of the frame belongs to the place, as with a fixed camera.
    width, height = FRAME_SIZES[place_seed % len(FRAME_SIZES)]
    # One look for each class in random order; the first looks become sources.
    classes = [str(name) for name in rng.permutation(CLASS_NAMES)]
    tones = [float(tone) for tone in rng.uniform(size=len(classes))]
    looks = [Look(name, tone, aspect_of(name)) for name, tone in zip(classes, tones, strict=True)]

    lanes: tuple[float, ...] = ()
    actors: tuple[Actor, ...] = ()
    if kind == "single":
        actors = (_make_swinging(looks[0], width, height, time_seconds, rng),)
    else:
        # The lanes belong to the place: all its clips have the same street.
        lanes = _make_lanes(height, np.random.default_rng(place_seed))
        street = _Street(lanes, width, height, time_seconds)
        # Draw again until enough of each source lies within the frame.
        while not actors or any(
            _seen_fraction(actor, width, time_seconds) < _LEAST_SEEN
            for actor in actors
            if actor.is_sounding
        ):
            actors = _make_traffic(looks, street, rng, has_look_alike=has_look_alike)

    sound_seed = int(rng.integers(2**32))
    return Scene(kind, width, height, time_seconds, actors, place_seed, sound_seed, lanes)


def _make_swinging(
    look: Look, width: int, height: int, time_seconds: float, rng: np.random.Generator
) -> Actor:
    """Make the source of a ``single`` scene: it swings about a place, or sounds at rest."""
    is_moving = rng.uniform() >= _STILL_SOURCE_FRACTION
    sprite_width, sprite_height = look.size(min(width, height), rng.uniform(0.36, 0.52))
    frequency = rng.uniform(0.40, 0.70) if is_moving else 0.0

    # Three in ten swing mostly up and down, the others mostly sideways.
    reach = rng.uniform(16, 30) if is_moving else 0.0
    amplitude_x, amplitude_y = (
        (0.35 * reach, reach) if rng.uniform() < 0.3 else (reach, 0.2 * reach)
    )

    # The object stays within the frame at all times.
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
        # At the sample's moment the swing is near its middle, where it is fastest.
        phase=float(
            np.pi * rng.integers(2) + rng.uniform(-0.7, 0.7) - 2 * np.pi * frequency * time_seconds
        ),
        is_facing_left=bool(rng.uniform() < 0.5),
        is_sounding=True,
        loudness=float(rng.uniform(0.75, 1.0)),
    )


def _seen_fraction(actor: Actor, frame_width: int, time_seconds: float) -> float:
    """Return how much of an object's width lies within the frame."""
    x = float(actor.position(time_seconds)[0])

    left, right = max(0.0, x - actor.width / 2), min(frame_width, x + actor.width / 2)
    return max(0.0, right - left) / actor.width


@dataclass(frozen=True)
class _Street:
    """The frame of a ``traffic`` scene."""

    lanes: tuple[float, ...]
    width: int
    height: int
    time_seconds: float


def _make_lanes(height: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the middles of a place's far and near lane, in pixels from the top."""
    return float(height * rng.uniform(0.27, 0.33)), float(height * rng.uniform(0.69, 0.75))


def _make_traffic(
    looks: Sequence[Look], street: _Street, rng: np.random.Generator, *, has_look_alike: bool
) -> tuple[Actor, ...]:
    """Make everything in a street, from back to front."""
    num_sources, num_waiting_sources = (
        2 if rng.uniform() < _TWO_SOURCES_FRACTION else 1 for _ in range(2)
    )
    num_moving = num_sources + _NUM_SILENT_MOVERS

    # As many wait as drive in another scene, so that the number of objects in a lane does not
    # tell which lane flows.
    num_waiting = num_waiting_sources + _NUM_SILENT_MOVERS
    waiting = [looks[index] for index in rng.permutation(len(looks))[:num_waiting]]
    if has_look_alike and looks[0] not in waiting:
        waiting[0] = looks[0]

    flowing_lane = int(rng.integers(2))
    actors: list[Actor] = []
    for lane in range(len(street.lanes)):
        is_moving = lane == flowing_lane
        cast = looks[:num_moving] if is_moving else waiting
        roles = [(look, is_moving and index < num_sources) for index, look in enumerate(cast)]
        # Sources come first so far. Shuffle, so that the place in a row does not tell them.
        roles = [roles[index] for index in rng.permutation(len(roles))]
        actors += _make_lane(roles, street, lane, rng, is_moving=is_moving)
    return tuple(actors)


def _make_lane(
    roles: Sequence[tuple[Look, bool]],
    street: _Street,
    lane: int,
    rng: np.random.Generator,
    *,
    is_moving: bool,
) -> list[Actor]:
    """Make the objects of one lane, in a row at random gaps.

    ``roles`` are (look, whether it sounds), from left to right.
    """
    is_leftward = lane == 0
    time_seconds = street.time_seconds
    frame_side = min(street.width, street.height)

    sizes = [look.size(frame_side, rng.uniform(0.27, 0.37)) for look, _ in roles]

    # There is one gap more than there are objects. In a full lane each gap is `_GAP`.
    free = street.width - sum(size[0] + _GAP for size in sizes) - _GAP
    # Dirichlet: a random division of the free space that favours no gap.
    gaps = rng.dirichlet(np.ones(len(roles) + 1)) * max(0, free) + _GAP
    mean_speed = rng.uniform(38, 60)  # of the sources; with the swing at most 90 pixels a second

    actors, left = [], 0.0
    for (look, is_sounding), (width, height), gap in zip(roles, sizes, gaps, strict=False):
        frequency = float(rng.uniform(0.40, 0.70)) if is_moving else 0.0
        # Objects that drive in silence are faster: what moves most is not what sounds.
        speed = mean_speed * (1.0 if is_sounding else rng.uniform(1.1, 1.4)) if is_moving else 0.0
        speed *= -1 if is_leftward else 1
        amplitude = _SWING * speed / (2 * np.pi * frequency) if is_moving else 0.0
        # Each object is near its fastest at the sample's moment.
        phase = float(rng.uniform(-0.7, 0.7) - 2 * np.pi * frequency * time_seconds)

        # `x` is the place at the sample's moment; the actor's is that at time 0.
        x = left + gap + width / 2
        left = x + width / 2
        swing = amplitude * np.sin(2 * np.pi * frequency * time_seconds + phase)
        actors.append(
            Actor(
                class_name=look.class_name,
                tone=look.tone,
                width=width,
                height=height,
                x=float(x - speed * time_seconds - swing),
                y=float(street.lanes[lane] + rng.uniform(-5, 5)),
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
