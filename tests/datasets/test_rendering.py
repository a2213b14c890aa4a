"""Rendered scenes: pictures, boxes, motion and sound agree with the scene.

Files decode to what was drawn.
"""

import dataclasses
import itertools

import av
import cv2
import numpy as np
import pytest

from pipeline.datasets.sample.rendering import SAMPLE_RATE, SceneRenderer, encode, render_sound
from pipeline.datasets.sample.scenes import KINDS, Actor, Scene, make_scene
from pipeline.datasets.sample.sounds import synthesize
from pipeline.datasets.sample.sprites import CLASS_NAMES, NUM_POSES, aspect_of, draw_pose


def scene_of(kind: str, seed: int, **options) -> Scene:
    return make_scene(
        kind,
        time_seconds=2.0,
        place_seed=seed,
        rng=np.random.default_rng([seed, KINDS.index(kind)]),
        aspect_of=aspect_of,
        **options,
    )


def actor_at(x: float, y: float, **changes) -> Actor:
    actor = Actor(
        class_name="car",
        tone=0.5,
        width=90,
        height=round(90 * aspect_of("car")),
        x=x,
        y=y,
        amplitude_x=0.0,
        amplitude_y=0.0,
        frequency=0.0,
        phase=0.0,
        is_facing_left=False,
        is_sounding=True,
        loudness=1.0,
    )
    return dataclasses.replace(actor, **changes)


def scene_with(*actors: Actor) -> Scene:
    return Scene("single", 288, 256, 2.0, tuple(actors), 7, 7)


def envelope(waveform: np.ndarray, *, seconds: float) -> np.ndarray:
    length = int(seconds * SAMPLE_RATE)
    return np.sqrt(
        np.mean(waveform[: len(waveform) // length * length].reshape(-1, length) ** 2, axis=1)
    )


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_sprites_fill_their_canvas_and_move(class_name):
    sprite, other = (
        np.stack([draw_pose(class_name, pose, tone=tone, width=96) for pose in range(NUM_POSES)])
        for tone in (0.3, 0.9)
    )
    assert sprite.shape == (NUM_POSES, round(96 * aspect_of(class_name)) + 2, 98, 4)
    alpha = sprite[..., 3]
    assert 0.25 < (alpha > 127).mean() < 0.95
    assert not alpha[:, [0, -1]].any() and not alpha[:, :, [0, -1]].any(), (
        "the border must be transparent"
    )
    assert (sprite[..., :3] <= alpha[..., None]).all(), "RGB must be premultiplied"
    assert np.abs(sprite[0].astype(int) - sprite[1]).max() > 60, "poses must differ"
    assert np.abs(sprite.astype(int) - other).max() > 20, "tone must show"


def test_box_is_exact():
    # At a whole-pixel position, what differs from the backdrop is the object.
    scene = scene_with(actor_at(120.0, 100.0))
    renderer = SceneRenderer(scene)
    changed = np.abs(renderer.frame(0.0).astype(int) - renderer.background).max(axis=2) > 0
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    (x1, y1, x2, y2) = renderer.boxes(0.0)[0]
    extent = np.array(
        [columns[0] / 288, rows[0] / 256, (columns[-1] + 1) / 288, (rows[-1] + 1) / 256]
    )
    assert np.abs(np.array([x1, y1, x2, y2]) - extent).max() <= 1.01 / 256
    assert (x1 + x2) / 2 * 288 == pytest.approx(120, abs=3)


def test_only_sounding_objects_have_a_box():
    scene = scene_with(actor_at(70.0, 80.0, is_sounding=False), actor_at(210.0, 180.0))
    renderer = SceneRenderer(scene)
    (box,) = renderer.boxes(2.0)
    assert box[0] > 0.5 and box[1] > 0.5
    assert len(renderer.boxes(2.0, sounding_only=False)) == 2


def test_motion_has_the_flow_of_its_speed():
    # At phase 0 and t=0 the velocity is 2 pi f A = 2 pi * 0.5 * 24 = 75 px/s: in 1/8 s about 9.1 px
    # to the left.
    scene = scene_with(actor_at(150.0, 120.0, amplitude_x=-24.0, frequency=0.5))
    renderer = SceneRenderer(scene)
    before, after = (cv2.cvtColor(renderer.frame(t), cv2.COLOR_RGB2GRAY) for t in (0.0, 0.125))
    flow = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    expected = -24 * np.sin(2 * np.pi * 0.5 * 0.125)
    x1, y1, x2, y2 = (np.array(renderer.boxes(0.0)[0]) * [288, 256, 288, 256]).astype(int)
    inside = flow[y1 + 8 : y2 - 8, x1 + 12 : x2 - 12, 0]
    assert np.median(inside) == pytest.approx(expected, abs=1.0)
    outside = np.hypot(flow[..., 0], flow[..., 1])
    outside[max(0, y1 - 30) : y2 + 30, max(0, x1 - 45) : x2 + 45] = 0
    assert outside.max() < 0.5, "the backdrop must be still"


def test_parked_objects_do_not_change():
    scene = scene_with(actor_at(150.0, 120.0, is_sounding=False))
    renderer = SceneRenderer(scene)
    assert np.array_equal(renderer.frame(0.0), renderer.frame(1.37))


def test_loudness_follows_speed():
    actor = actor_at(150.0, 120.0, class_name="motorcycle", amplitude_x=24.0, frequency=0.5)
    loudness = envelope(render_sound(scene_with(actor), duration_seconds=4.0), seconds=0.1)
    speed = actor.activity(0.05 + 0.1 * np.arange(len(loudness)))
    assert np.corrcoef(loudness, speed)[0, 1] > 0.95
    assert loudness[speed > 0.9].min() > 3 * loudness[speed < 0.2].max()


def test_silent_objects_are_silent():
    actors = (
        actor_at(60.0, 60.0, is_sounding=False, amplitude_x=20.0, frequency=0.5),
        actor_at(200.0, 180.0),
    )
    nothing = render_sound(
        scene_with(dataclasses.replace(actors[1], is_sounding=False)), duration_seconds=2.0
    )
    silent = render_sound(scene_with(actors[0]), duration_seconds=2.0)
    both = render_sound(scene_with(*actors), duration_seconds=2.0)
    assert np.array_equal(silent, nothing)
    assert np.sqrt(np.mean(both**2)) > 10 * np.sqrt(np.mean(silent**2))
    assert np.abs(both).max() <= 1


def test_sounds_tell_classes_apart():
    # Nearest mean spectrum, learned from one tone and tried on others.
    def profile(class_name, tone, seed):
        activity = np.abs(np.cos(np.linspace(0, 9, 2 * SAMPLE_RATE)))
        sound = synthesize(
            class_name,
            activity,
            tone=tone,
            sample_rate=SAMPLE_RATE,
            rng=np.random.default_rng([seed, 5]),
        )
        spectrum = np.abs(np.fft.rfft(sound)) ** 2
        edges = np.geomspace(30, SAMPLE_RATE / 2, 25)
        bands = np.searchsorted(np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE), edges)
        return np.log(np.add.reduceat(spectrum, bands[:-1])[:24] / spectrum.sum() + 1e-6)

    known = {
        name: np.mean([profile(name, tone, 0) for tone in (0.2, 0.5, 0.8)], axis=0)
        for name in CLASS_NAMES
    }
    hits = 0
    for name in CLASS_NAMES:
        for tone in (0.05, 0.35, 0.65, 0.95):
            unknown = profile(name, tone, 1)
            hits += min(known, key=lambda other: np.sum((known[other] - unknown) ** 2)) == name
    assert hits >= 0.95 * 4 * len(CLASS_NAMES)


def test_scenes_show_what_their_kind_says():
    centres = []
    for seed in range(40):
        single, traffic = scene_of("single", seed), scene_of("traffic", seed)
        assert len(single.actors) == 1 and single.actors[0].is_sounding
        sources = [actor for actor in traffic.actors if actor.is_sounding]
        assert 1 <= len(sources) <= 2 and all(actor.is_moving for actor in sources)
        parked = [actor for actor in traffic.actors if not actor.is_moving]
        assert any(
            p.class_name == s.class_name and p.tone == s.tone for p in parked for s in sources
        )
        assert any(actor.is_moving and not actor.is_sounding for actor in traffic.actors)
        for scene in (single, traffic):
            for actor in scene.actors:
                if actor.is_moving:
                    assert actor.activity(scene.time_seconds) > 0.7, (
                        "must be moving at the sample's moment"
                    )
            for x1, y1, x2, y2 in SceneRenderer(scene).boxes(scene.time_seconds):
                assert 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1
                centres.append(((x1 + x2) / 2, (y1 + y2) / 2))
    assert np.std(centres, axis=0).min() > 0.14, "sources must not gather at the centre"


def test_a_street_has_one_lane_that_flows_and_one_that_waits():
    flowing = set()
    for seed in range(40):
        scene = scene_of("traffic", seed)
        far, near = scene.lanes
        assert 0 < far < near < scene.height
        lanes = [
            [a for a in scene.actors if (abs(a.y - near) < abs(a.y - far)) == bool(lane)]
            for lane in (0, 1)
        ]
        assert len(scene.actors) in (4, 5, 6)
        for lane, actors in enumerate(lanes):
            assert len({actor.is_moving for actor in actors}) == 1
            assert all(actor.is_facing_left == (lane == 0) for actor in actors)
            for actor in actors:
                x = actor.position(scene.time_seconds + np.array([-1.0, -0.01, 0.01, 1.0]))[0]
                assert np.all(
                    np.sign(np.diff(x)) == (0 if not actor.is_moving else -1 if lane == 0 else 1)
                )
            spans = sorted(
                (
                    a.position(scene.time_seconds)[0] - a.width / 2,
                    a.position(scene.time_seconds)[0] + a.width / 2,
                )
                for a in actors
            )
            assert all(left[1] < right[0] for left, right in itertools.pairwise(spans)), (
                "nothing overlaps"
            )
            if actors[0].is_moving:
                flowing.add(lane)
    assert flowing == {0, 1}


def test_waiting_objects_do_not_tell_which_object_sounds():
    # Otherwise a look that is seen twice would give the source away.
    waits = {True: [], False: []}
    for seed in range(1500):
        scene = scene_of("traffic", seed, has_look_alike=False)
        waiting = {actor.class_name for actor in scene.actors if not actor.is_moving}
        for actor in scene.actors:
            if actor.is_moving:
                waits[actor.is_sounding].append(actor.class_name in waiting)
    expected = (0.7 * 2 + 0.3 * 3) / len(CLASS_NAMES)
    assert np.mean(waits[True]) == pytest.approx(expected, abs=0.05)
    assert np.mean(waits[False]) == pytest.approx(expected, abs=0.05)


def test_sources_of_a_full_lane_are_within_the_frame():
    for seed in range(60):
        # Looks this wide do not fit into a lane; those that are drawn nearly always do.
        rng = np.random.default_rng(seed)
        scene = make_scene(
            "traffic", time_seconds=2.0, place_seed=seed, rng=rng, aspect_of=lambda _: 0.25
        )
        for actor in scene.actors:
            x, _ = actor.position(scene.time_seconds)
            seen = min(scene.width, x + actor.width / 2) - max(0, x - actor.width / 2)
            assert not actor.is_sounding or seen >= 0.3 * actor.width, seed


def test_driving_objects_enter_and_leave_the_frame():
    car = actor_at(-200.0, 120.0, frequency=0.5, amplitude_x=5.0, speed=100.0)
    scene = scene_with(car)
    renderer = SceneRenderer(scene)
    empty = SceneRenderer(dataclasses.replace(scene, actors=())).frame(0.0)
    assert np.array_equal(renderer.frame(0.0), empty) and np.array_equal(renderer.frame(6.5), empty)
    x, _ = car.position(2.0)
    assert -car.width / 2 < x < car.width / 2, "half of it is to be seen"
    ((x1, _, x2, _),) = renderer.boxes(2.0)
    assert x1 == 0 and x2 * scene.width == pytest.approx(x + car.width / 2, abs=2)
    seen = np.abs(renderer.frame(2.0).astype(int) - empty).max(-1) > 8
    assert np.flatnonzero(seen.any(0)).max() == pytest.approx(x2 * scene.width, abs=2)


def test_driving_objects_are_as_loud_as_they_are_fast():
    actor = actor_at(
        0.0, 120.0, class_name="motorcycle", frequency=0.5, amplitude_x=8.0, speed=50.0
    )
    times = np.linspace(0, 4, 400)
    speed = np.abs(np.gradient(actor.position(times)[0], times))
    assert actor.activity(times)[2:-2] == pytest.approx((speed / (50 + 8 * np.pi))[2:-2], abs=0.01)


def test_same_scene_same_file(tmp_path):
    scene = scene_of("traffic", 3)
    for name in ("a.mp4", "b.mp4"):
        renderer = SceneRenderer(scene)
        frames = (renderer.frame(index / 16) for index in range(16))
        encode(tmp_path / name, frames, render_sound(scene, duration_seconds=1.0), fps=16)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert scene_of("traffic", 3) == scene and scene_of("traffic", 4) != scene


def test_file_holds_what_was_drawn_and_is_in_sync(tmp_path):
    # A flash and a click at 1.0 s must come out of the encoders at the same time.
    scene = scene_with(actor_at(150.0, 120.0, amplitude_x=24.0, frequency=0.5))
    renderer = SceneRenderer(scene)
    frames = [renderer.frame(index / 16) for index in range(32)]
    frames[16] = np.full_like(frames[0], 255)
    waveform = np.zeros(2 * SAMPLE_RATE, np.float32)
    waveform[SAMPLE_RATE : SAMPLE_RATE + 320] = 0.8 * np.sin(np.arange(320))
    encode(tmp_path / "flash.mp4", iter(frames), waveform, fps=16)
    with av.open(str(tmp_path / "flash.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"
        pictures = {
            frame.time: frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)
        }
    with av.open(str(tmp_path / "flash.mp4")) as container:
        blocks = [(frame.time, frame.to_ndarray()[0]) for frame in container.decode(audio=0)]
    assert sorted(pictures) == [pytest.approx(index / 16) for index in range(32)]
    error = pictures[0.5].astype(float) - frames[8]
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 27
    assert max(pictures, key=lambda time: pictures[time].mean()) == pytest.approx(1.0)
    start_seconds = next(
        time + np.argmax(np.abs(block) > 0.3) / SAMPLE_RATE
        for time, block in blocks
        if np.abs(block).max() > 0.3
    )
    assert start_seconds == pytest.approx(1.0, abs=0.01)
