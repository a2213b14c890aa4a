"""Rendering of scenes to real media: frames, sound, and H.264 + AAC in mp4 by PyAV.

Everything follows from the scene, so the same scene gives the same pixels and samples; encoders run on one thread, so
the same scene gives the same file on one machine.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from pipeline.datasets.sample.scenes import Actor, Scene
from pipeline.datasets.sample.sounds import ambience, synthesize
from pipeline.datasets.sample.sprites import NUM_POSES, draw_sprite

SAMPLE_RATE = 32_000
_POSES_PER_SECOND = 10.0
_SOURCE_LEVEL, _AMBIENCE_LEVEL = 0.16, 0.006  # root mean square, full scale 1
_FRAME_SIZE_AAC = 1024


class SceneRenderer:
    """Draws a scene's frames and knows where each object is, to the pixel."""

    def __init__(self, scene: Scene):
        self.scene = scene
        self._sprites = [
            _face(draw_sprite(a.class_name, tone=a.tone, width=a.width), a) for a in scene.actors
        ]

    @functools.cached_property
    def background(self) -> np.ndarray:
        """The still backdrop, uint8 RGB (height, width, 3)."""
        rng = np.random.default_rng(self.scene.place_seed)
        return draw_background(self.scene.width, self.scene.height, rng, lanes=self.scene.lanes)

    def frame(self, time_seconds: float) -> np.ndarray:
        """The picture at a time, uint8 RGB (height, width, 3)."""
        picture = self.background.copy()
        for actor, sprite in zip(self.scene.actors, self._sprites, strict=True):
            patch, x, y = _pose_at(actor, sprite, time_seconds)
            patch, x, y = _cut_to_frame(patch, x, y, self.scene.width, self.scene.height)
            height, width = patch.shape[:2]
            if not patch.size:
                continue
            region = picture[y : y + height, x : x + width]
            keep = 255 - patch[..., 3:]
            region[:] = patch[..., :3] + cv2.multiply(region, cv2.merge([keep] * 3), scale=1 / 255)
        return picture

    def boxes(self, time_seconds: float, *, sounding_only: bool = True) -> list[list[float]]:
        """Normalized x1 y1 x2 y2 of the objects' visible extent (alpha of at least one half) at a time."""
        boxes = []
        for actor, sprite in zip(self.scene.actors, self._sprites, strict=True):
            if sounding_only and not actor.is_sounding:
                continue
            patch, x, y = _pose_at(actor, sprite, time_seconds)
            patch, x, y = _cut_to_frame(patch, x, y, self.scene.width, self.scene.height)
            left, top, width, height = cv2.boundingRect((patch[..., 3] >= 128).astype(np.uint8))
            x1, y1 = x + left, y + top
            pixels = (x1, y1, x1 + width, y1 + height)
            size = (self.scene.width, self.scene.height) * 2
            boxes.append([float(pixel / side) for pixel, side in zip(pixels, size, strict=True)])
        return boxes


def render_sound(scene: Scene, *, duration_seconds: float) -> np.ndarray:
    """The scene's sound, float32 (num_samples,) at ``SAMPLE_RATE``, within [-1, 1]."""
    rng = np.random.default_rng(scene.sound_seed)
    times = np.arange(round(duration_seconds * SAMPLE_RATE)) / SAMPLE_RATE
    mix = _AMBIENCE_LEVEL * ambience(len(times), sample_rate=SAMPLE_RATE, rng=rng)
    for actor in scene.actors:
        if actor.is_sounding:
            sound = synthesize(
                actor.class_name,
                actor.activity(times),
                tone=actor.tone,
                sample_rate=SAMPLE_RATE,
                rng=rng,
            )
            mix += _SOURCE_LEVEL * actor.loudness * sound
    return np.clip(mix, -0.98, 0.98)


def draw_background(
    width: int, height: int, rng: np.random.Generator, *, lanes: tuple[float, ...] = ()
) -> np.ndarray:
    """A still, photo-like backdrop, uint8 RGB: sky or wall over ground, 1/f texture, blocks and blobs.

    With ``lanes`` (middles in pixels from the top) a street runs across it.
    """
    texture = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((3, 34), (6, 24), (12, 18), (28, 14), (64, 12), (128, 9)):
        noise = rng.standard_normal((cells, cells, 3), np.float32)
        noise = 1.4 * noise.mean(axis=2, keepdims=True) + 0.15 * noise
        texture += weight * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    base = np.empty((height, width, 3), np.float32)
    horizon = int(height * rng.uniform(0.25, 0.75))
    base[:horizon] = _muted_colour(rng, 90, 190, chroma=22)
    base[horizon:] = _muted_colour(rng, 60, 150, chroma=22)
    for _ in range(rng.integers(3, 8)):  # houses, crates, signs
        x, y = rng.integers(0, width), rng.integers(0, height)
        corner = (int(x + rng.integers(15, 80)), int(y + rng.integers(15, 80)))
        cv2.rectangle(
            base, (int(x), int(y)), corner, _muted_colour(rng, 40, 215, chroma=36).tolist(), -1
        )
    for _ in range(rng.integers(2, 6)):  # bushes, stones
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        axes = (int(rng.integers(6, 34)), int(rng.integers(6, 26)))
        cv2.ellipse(
            base,
            centre,
            axes,
            float(rng.uniform(0, 180)),
            0,
            360,
            _muted_colour(rng, 30, 200, chroma=36).tolist(),
            -1,
        )
    if lanes:
        _draw_street(base, lanes, rng)
    picture = base + texture * rng.uniform(0.5, 1.0)
    grain = rng.integers(0, 256, (height, width), np.uint8).astype(np.float32)
    picture += ((grain - 127.5) * (6 / 128))[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _draw_street(base: np.ndarray, lanes: tuple[float, ...], rng: np.random.Generator) -> None:
    """Asphalt from above the far lane to below the near one, a kerb on either side, a broken line between them."""
    height, width = base.shape[:2]
    top, bottom = int(lanes[0] - 0.06 * height), int(lanes[1] + 0.17 * height)
    middle = int((lanes[0] + lanes[1]) / 2 + 0.06 * height)
    base[top:bottom] = _muted_colour(rng, 75, 120, chroma=6)
    for edge in (top, bottom):
        base[edge - 2 : edge + 2] = _muted_colour(rng, 130, 190, chroma=8)
    dash, start = int(rng.integers(18, 34)), int(rng.integers(0, 30))
    for x in range(start, width, 2 * dash):
        base[middle - 1 : middle + 2, x : x + dash] = 205


def _muted_colour(
    rng: np.random.Generator, darkest: float, brightest: float, *, chroma: float
) -> np.ndarray:
    """A colour of walls, soil and leaves: a grey in [darkest, brightest], each channel off by at most ``chroma``."""
    return np.clip(rng.uniform(darkest, brightest) + rng.uniform(-chroma, chroma, 3), 0, 255)


def encode(
    path: Path,
    frames: Iterator[np.ndarray] | None,
    waveform: np.ndarray | None,
    *,
    fps: int,
) -> None:
    """Write an mp4 with H.264 video and mono AAC sound; ``None`` leaves that stream out.

    The sound of a video's first ``k`` frames is written before its frame ``k``, as cameras interleave.
    """
    with av.open(str(path), "w", format="mp4") as container:
        video = audio = None
        if frames is not None:
            frames = iter(frames)
            first = next(frames)
            video = container.add_stream(
                "libx264", rate=fps, options={"preset": "superfast", "crf": "23", "threads": "1"}
            )
            video.height, video.width = first.shape[:2]
            video.pix_fmt = "yuv420p"
            video.codec_context.thread_count = 1
        if waveform is not None:
            audio = container.add_stream(
                "aac", rate=SAMPLE_RATE, layout="mono", options={"aac_coder": "fast"}
            )
            audio.bit_rate = 64_000
        blocks = _audio_blocks(waveform) if audio is not None else iter(())
        block = next(blocks, None)
        if video is not None:
            index, picture = 0, first
            while picture is not None:
                while block is not None and block.pts / SAMPLE_RATE <= index / fps:
                    container.mux(audio.encode(block))
                    block = next(blocks, None)
                container.mux(video.encode(_video_frame(picture, index)))
                picture, index = next(frames, None), index + 1
            container.mux(video.encode(None))
        while block is not None:
            container.mux(audio.encode(block))
            block = next(blocks, None)
        if audio is not None:
            container.mux(audio.encode(None))


def _video_frame(picture: np.ndarray, index: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(
        cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), format="yuv420p"
    )
    frame.pts = index
    return frame


def _audio_blocks(waveform: np.ndarray) -> Iterator[av.AudioFrame]:
    for start in range(0, len(waveform), _FRAME_SIZE_AAC):
        block = np.ascontiguousarray(waveform[None, start : start + _FRAME_SIZE_AAC], np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = start
        yield frame


def _cut_to_frame(
    patch: np.ndarray, x: int, y: int, width: int, height: int
) -> tuple[np.ndarray, int, int]:
    """The part of a patch that lies within the frame, and the pixel of its upper left corner; empty if none does."""
    x1, y1 = min(max(x, 0), width), min(max(y, 0), height)
    return patch[y1 - y : max(0, height - y), x1 - x : max(0, width - x)], x1, y1


def _face(sprite: np.ndarray, actor: Actor) -> np.ndarray:
    return np.ascontiguousarray(sprite[:, :, ::-1]) if actor.is_facing_left else sprite


def _pose_at(actor: Actor, sprite: np.ndarray, time_seconds: float) -> tuple[np.ndarray, int, int]:
    """The object's patch at a time, shifted by a fraction of a pixel, and the pixel of its upper left corner."""
    pose = (
        int(time_seconds * _POSES_PER_SECOND) % NUM_POSES
        if actor.is_moving or actor.is_sounding
        else 0
    )
    centre_x, centre_y = actor.position(time_seconds)
    height, width = sprite.shape[1:3]
    left, top = float(centre_x) - width / 2, float(centre_y) - height / 2
    x, y = int(np.floor(left)), int(np.floor(top))
    shift = np.float32([[1, 0, left - x], [0, 1, top - y]])
    return cv2.warpAffine(sprite[pose], shift, (width, height)), x, y
