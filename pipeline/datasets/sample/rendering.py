"""Render scenes to real media: frames, sound, and an mp4 of H.264 and AAC, written by PyAV.

Pixels and sound follow from the scene. Encoders run on one thread, so on one machine the same
scene gives the same file.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from earshot.cached_property import cached_property
from pipeline.datasets.sample.scenes import Actor, Scene
from pipeline.datasets.sample.sounds import ambience, synthesize
from pipeline.datasets.sample.sprites import NUM_POSES, draw_pose

SAMPLE_RATE = 32_000
_POSES_PER_SECOND = 10.0
_SOURCE_LEVEL, _AMBIENCE_LEVEL = 0.16, 0.006  # root mean square, full scale 1
_FRAME_SIZE_AAC = 1024  # audio samples in a frame of the codec


class SceneRenderer:
    """Draw a scene's frames, and say where each object is to the pixel."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        # A pose is drawn when it is first needed: a clip's boxes need one, its frames need all.
        self._draw_pose = functools.cache(_draw_pose)

    @cached_property
    def background(self) -> np.ndarray:
        """The still backdrop: uint8 RGB ``(height, width, 3)``."""
        rng = np.random.default_rng(self.scene.place_seed)
        return draw_background(self.scene.width, self.scene.height, rng, lanes=self.scene.lanes)

    def frame(self, time_seconds: float) -> np.ndarray:
        """Draw the picture at a time: uint8 RGB ``(height, width, 3)``."""
        picture = self.background.copy()
        for actor in self.scene.actors:
            patch, x, y = self._place_actor(actor, time_seconds)
            patch, x, y = _cut_to_frame(patch, x, y, self.scene.width, self.scene.height)
            height, width = patch.shape[:2]
            if not patch.size:  # the object is outside of the frame
                continue

            # The patch's colours are premultiplied with its alpha.
            region = picture[y : y + height, x : x + width]
            keep = 255 - patch[..., 3:]
            region[:] = patch[..., :3] + cv2.multiply(region, cv2.merge([keep] * 3), scale=1 / 255)
        return picture

    def boxes(self, time_seconds: float, *, sounding_only: bool = True) -> list[list[float]]:
        """Return the boxes of the objects at a time.

        Args:
            time_seconds: Since the beginning of the clip.
            sounding_only: Leave out silent objects.

        Returns:
            Normalized x1 y1 x2 y2 of what is visible: pixels with an alpha of at least one half.
        """
        boxes = []
        for actor in self.scene.actors:
            if sounding_only and not actor.is_sounding:
                continue

            patch, x, y = self._place_actor(actor, time_seconds)
            patch, x, y = _cut_to_frame(patch, x, y, self.scene.width, self.scene.height)
            left, top, width, height = cv2.boundingRect((patch[..., 3] >= 128).astype(np.uint8))

            x1, y1 = x + left, y + top
            pixels = (x1, y1, x1 + width, y1 + height)
            size = (self.scene.width, self.scene.height) * 2
            boxes.append([float(pixel / side) for pixel, side in zip(pixels, size, strict=True)])
        return boxes

    def _place_actor(self, actor: Actor, time_seconds: float) -> tuple[np.ndarray, int, int]:
        """Return the object's patch at a time and the pixel of its upper left corner.

        The patch itself is shifted by the fraction of a pixel that is left over.
        """
        # Wheels turn and sticks strike also where an object sounds at rest.
        pose = 0
        if actor.is_moving or actor.is_sounding:
            pose = int(time_seconds * _POSES_PER_SECOND) % NUM_POSES
        picture = self._draw_pose(
            actor.class_name, pose, actor.tone, actor.width, actor.is_facing_left
        )

        centre_x, centre_y = actor.position(time_seconds)
        height, width = picture.shape[:2]
        left, top = float(centre_x) - width / 2, float(centre_y) - height / 2
        x, y = int(np.floor(left)), int(np.floor(top))
        shift = np.array([[1, 0, left - x], [0, 1, top - y]], np.float32)
        return cv2.warpAffine(picture, shift, (width, height)), x, y


def render_sound(scene: Scene, *, duration_seconds: float) -> np.ndarray:
    """Render a scene's sound: float32 ``(num_samples,)`` at ``SAMPLE_RATE``, within [-1, 1]."""
    rng = np.random.default_rng(scene.sound_seed)

    times = np.arange(round(duration_seconds * SAMPLE_RATE)) / SAMPLE_RATE
    mix = _AMBIENCE_LEVEL * ambience(len(times), sample_rate=SAMPLE_RATE, rng=rng)

    # Noise and actors share one generator, so their order is part of the sound.
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

    # Less than full scale: a lossy codec can overshoot what it was given.
    return np.clip(mix, -0.98, 0.98)


def draw_background(
    width: int, height: int, rng: np.random.Generator, *, lanes: tuple[float, ...] = ()
) -> np.ndarray:
    """Draw a still backdrop that looks a little like a photograph.

    Sky or wall over ground, blocks and blobs on it, and a texture with a 1/f spectrum.

    Args:
        width: In pixels.
        height: In pixels.
        rng: Determines the picture.
        lanes: Middles of two lanes in pixels from the top; a street runs along them.

    Returns:
        uint8 RGB ``(height, width, 3)``.
    """
    # Octaves of noise: the coarser, the stronger. The channels differ only a little.
    texture = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((3, 34), (6, 24), (12, 18), (28, 14), (64, 12), (128, 9)):
        noise = rng.standard_normal((cells, cells, 3), np.float32)
        noise = 1.4 * noise.mean(axis=2, keepdims=True) + 0.15 * noise
        texture += weight * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)

    # Two plain areas meet at a horizon: sky over ground, or wall over floor.
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

    # Add the texture and the grain of a sensor.
    picture = base + texture * rng.uniform(0.5, 1.0)
    grain = rng.integers(0, 256, (height, width), np.uint8).astype(np.float32)
    # At most six grey levels up or down.
    picture += ((grain - 127.5) * (6 / 128))[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _draw_street(base: np.ndarray, lanes: tuple[float, ...], rng: np.random.Generator) -> None:
    """Draw asphalt under both lanes, a kerb on either side and a broken line between them."""
    # Objects are centred on their lane and their wheels lie lower, so the asphalt reaches down.
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
    """Draw a colour of walls, soil and leaves.

    It is a grey in [darkest, brightest] from which each channel departs by at most ``chroma``.
    """
    return np.clip(rng.uniform(darkest, brightest) + rng.uniform(-chroma, chroma, 3), 0, 255)


def encode(
    path: Path,
    frames: Iterator[np.ndarray] | None,
    waveform: np.ndarray | None,
    *,
    fps: int,
) -> None:
    """Write an mp4 with H.264 video and mono AAC sound.

    The sound of a video's first ``k`` frames is written before its frame ``k``, as cameras do.

    Args:
        path: The file.
        frames: uint8 RGB ``(height, width, 3)``; None leaves the video out.
        waveform: float32 ``(num_samples,)`` at ``SAMPLE_RATE``; None leaves the sound out.
        fps: Frames a second.
    """
    with av.open(str(path), "w", format="mp4") as container:
        # The first picture tells the size of the video, so take it before the stream is made.
        pictures: Iterator[np.ndarray] = iter(()) if frames is None else iter(frames)
        picture = next(pictures, None)
        video = audio = None
        if picture is not None:
            video = _add_video_stream(container, picture.shape[:2], fps)
        if waveform is not None:
            audio = _add_audio_stream(container)

        blocks = iter(()) if waveform is None else _audio_blocks(waveform)
        block = next(blocks, None)

        # Each block of sound goes in front of the first frame that begins no earlier.
        index = 0
        while video is not None and picture is not None:
            while audio is not None and block is not None and block[0] * fps <= index * SAMPLE_RATE:
                container.mux(audio.encode(block[1]))
                block = next(blocks, None)
            container.mux(video.encode(_video_frame(picture, index)))
            picture, index = next(pictures, None), index + 1

        # Encoders hold frames back; None makes them write the rest.
        if video is not None:
            container.mux(video.encode(None))
        if audio is not None:
            while block is not None:
                container.mux(audio.encode(block[1]))
                block = next(blocks, None)
            container.mux(audio.encode(None))


def _add_video_stream(
    container: av.container.OutputContainer, shape: tuple[int, int], fps: int
) -> av.VideoStream:
    options = {"preset": "superfast", "crf": "23", "threads": "1"}
    video = container.add_stream("libx264", rate=fps, options=options)
    video.height, video.width = shape
    video.pix_fmt = "yuv420p"
    # Several threads would give other bytes on a machine with more cores.
    video.codec_context.thread_count = 1
    return video


def _add_audio_stream(container: av.container.OutputContainer) -> av.AudioStream:
    options = {"aac_coder": "fast"}
    audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", options=options)
    audio.bit_rate = 64_000
    return audio


def _video_frame(picture: np.ndarray, index: int) -> av.VideoFrame:
    planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8)
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts = index
    return frame


def _audio_blocks(waveform: np.ndarray) -> Iterator[tuple[int, av.AudioFrame]]:
    """Cut a waveform into frames of the codec, each with the number of its first sample."""
    for start in range(0, len(waveform), _FRAME_SIZE_AAC):
        block = np.ascontiguousarray(waveform[None, start : start + _FRAME_SIZE_AAC], np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = start
        yield start, frame


def _cut_to_frame(
    patch: np.ndarray, x: int, y: int, width: int, height: int
) -> tuple[np.ndarray, int, int]:
    """Return the part of a patch within the frame, and the pixel of its upper left corner.

    The part is empty where nothing of the patch lies within the frame.
    """
    x1, y1 = min(max(x, 0), width), min(max(y, 0), height)
    return patch[y1 - y : max(0, height - y), x1 - x : max(0, width - x)], x1, y1


def _draw_pose(
    class_name: str, pose: int, tone: float, width: int, is_facing_left: bool
) -> np.ndarray:
    picture = draw_pose(class_name, pose, tone=tone, width=width)
    return np.ascontiguousarray(picture[:, ::-1]) if is_facing_left else picture
