"""Draw the objects of the sample dataset with OpenCV: little vehicles, animals and instruments.

Each has several poses (wheels turn, wings flap, sticks strike). A pose is an RGBA image,
premultiplied with its alpha. Objects of one class share a look. Their hue varies with their
``tone`` in [0, 1], which also sets the pitch of their sound.
"""

import colorsys
from collections.abc import Callable, Sequence

import cv2
import numpy as np

NUM_POSES = 4
_SUPERSAMPLING = 3

Colour = tuple[int, int, int]  # RGB
Point = tuple[float, float]

_DARK = (38, 38, 44)
_GLASS = (186, 214, 228)


def draw_pose(class_name: str, pose: int, *, tone: float, width: int) -> np.ndarray:
    """Draw an object in one of its poses.

    Args:
        class_name: One of ``CLASS_NAMES``.
        pose: 0 to ``NUM_POSES - 1``.
        tone: 0 to 1; sets the hue.
        width: Of the object, in pixels.

    Returns:
        uint8 ``(height + 2, width + 2, 4)``: RGB premultiplied with the alpha in the last channel.
        The height follows from the look. A transparent border of one pixel lets the object move
        by fractions of a pixel.
    """
    height_to_width, paint, hue, hue_range = _LOOKS[class_name]
    # A tone of one half has the hue of the class.
    hue = (hue + hue_range * (tone - 0.5)) % 1.0
    body = _rgb(hue, 0.78, 0.88)
    shade = _rgb(hue, 0.80, 0.55)

    height = round(width * height_to_width)
    canvas = _Canvas(width, height)
    paint(canvas, body, shade, pose)
    return canvas.finish((height + 2, width + 2))


class _Canvas:
    """A supersampled drawing area.

    Coordinates are 0 to 1 across its width, and 0 to height / width down.
    """

    def __init__(self, width: int, height: int) -> None:
        self.scale = width * _SUPERSAMPLING
        self.border = _SUPERSAMPLING
        shape = (
            height * _SUPERSAMPLING + 2 * self.border,
            width * _SUPERSAMPLING + 2 * self.border,
        )
        self.rgb = np.zeros((*shape, 3), np.uint8)
        self.alpha = np.zeros(shape, np.uint8)

    def _points(self, points: Sequence[Point] | Point) -> np.ndarray:
        """Turn coordinates into pixels of the supersampled area."""
        return np.rint(np.asarray(points, float) * self.scale + self.border).astype(np.int32)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        corners = self._points(points)
        cv2.fillPoly(self.rgb, [corners], colour)
        cv2.fillPoly(self.alpha, [corners], 255)

    def box(self, x1: float, y1: float, x2: float, y2: float, colour: Colour) -> None:
        """Fill a rectangle."""
        self.polygon([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], colour)

    def ellipse(
        self,
        x: float,
        y: float,
        radius_x: float,
        radius_y: float,
        colour: Colour,
        *,
        angle: float = 0.0,
    ) -> None:
        """Fill an ellipse about (x, y), turned by an angle in degrees."""
        centre = tuple(int(value) for value in self._points((x, y)))
        axes = (max(1, round(radius_x * self.scale)), max(1, round(radius_y * self.scale)))
        cv2.ellipse(self.rgb, centre, axes, angle, 0, 360, colour, -1)
        cv2.ellipse(self.alpha, centre, axes, angle, 0, 360, 255, -1)

    def line(
        self, x1: float, y1: float, x2: float, y2: float, colour: Colour, *, thickness: float
    ) -> None:
        """Draw a line."""
        start, stop = (
            tuple(int(value) for value in point) for point in self._points([(x1, y1), (x2, y2)])
        )
        pixels = max(1, round(thickness * self.scale))
        cv2.line(self.rgb, start, stop, colour, pixels)
        cv2.line(self.alpha, start, stop, 255, pixels)

    def wheel(self, x: float, y: float, radius: float, pose: int) -> None:
        """Draw a tyre with a hub whose spokes turn with the pose."""
        self.ellipse(x, y, radius, radius, _DARK)
        self.ellipse(x, y, 0.62 * radius, 0.62 * radius, (196, 196, 200))
        for spoke in range(2):
            # All poses are a quarter turn, after which the cross of spokes looks as before.
            angle = np.pi * (spoke / 2 + pose / (2 * NUM_POSES))
            dx, dy = 0.6 * radius * np.cos(angle), 0.6 * radius * np.sin(angle)
            self.line(x - dx, y - dy, x + dx, y + dy, _DARK, thickness=0.3 * radius)

    def finish(self, size: tuple[int, int]) -> np.ndarray:
        """Return the picture, uint8 RGBA, at ``size`` (height, width)."""
        height, width = size

        # Nothing reaches into the border, and what is transparent is black.
        inside = np.zeros_like(self.alpha)
        inside[self.border : -self.border, self.border : -self.border] = 255
        self.alpha &= inside
        rgba = np.dstack([self.rgb, self.alpha])
        rgba[self.alpha == 0] = 0
        # The mean of each block of pixels, so edges are smooth.
        return cv2.resize(rgba, (width, height), interpolation=cv2.INTER_AREA)


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _paint_car(canvas: _Canvas, body: Colour, shade: Colour, pose: int) -> None:
    canvas.polygon([(0.2, 0.22), (0.3, 0.02), (0.68, 0.02), (0.82, 0.22)], body)

    canvas.polygon([(0.26, 0.21), (0.33, 0.06), (0.48, 0.06), (0.48, 0.21)], _GLASS)
    canvas.polygon([(0.52, 0.21), (0.52, 0.06), (0.66, 0.06), (0.75, 0.21)], _GLASS)
    canvas.polygon(
        [(0.0, 0.24), (0.06, 0.2), (0.92, 0.2), (1.0, 0.26), (1.0, 0.4), (0.0, 0.4)], body
    )

    canvas.box(0.0, 0.34, 1.0, 0.4, shade)
    canvas.ellipse(0.96, 0.28, 0.03, 0.03, (255, 244, 190))
    canvas.line(0.5, 0.22, 0.5, 0.36, shade, thickness=0.012)
    canvas.wheel(0.22, 0.4, 0.1, pose)
    canvas.wheel(0.78, 0.4, 0.1, pose)


def _paint_bus(canvas: _Canvas, body: Colour, shade: Colour, pose: int) -> None:
    canvas.box(0.0, 0.02, 1.0, 0.56, body)
    canvas.box(0.0, 0.36, 1.0, 0.42, (240, 240, 236))
    canvas.box(0.0, 0.5, 1.0, 0.56, shade)
    for window in range(5):
        canvas.box(0.05 + 0.19 * window, 0.09, 0.2 + 0.19 * window, 0.3, _GLASS)
    canvas.box(0.84, 0.12, 0.92, 0.5, shade)
    canvas.wheel(0.2, 0.56, 0.09, pose)
    canvas.wheel(0.76, 0.56, 0.09, pose)


def _paint_motorcycle(canvas: _Canvas, body: Colour, shade: Colour, pose: int) -> None:
    canvas.line(0.2, 0.62, 0.5, 0.46, _DARK, thickness=0.06)
    canvas.line(0.8, 0.62, 0.68, 0.3, (150, 150, 156), thickness=0.05)
    canvas.polygon([(0.28, 0.36), (0.5, 0.4), (0.7, 0.34), (0.62, 0.58), (0.4, 0.6)], body)
    canvas.polygon([(0.12, 0.38), (0.42, 0.34), (0.5, 0.42), (0.2, 0.44)], _DARK)
    canvas.wheel(0.19, 0.64, 0.17, pose)
    canvas.wheel(0.81, 0.64, 0.17, pose)

    # The rider: torso, arm, helmet and visor.
    canvas.polygon([(0.34, 0.36), (0.42, 0.12), (0.56, 0.12), (0.5, 0.38)], shade)
    canvas.line(0.5, 0.17, 0.68, 0.3, shade, thickness=0.06)
    canvas.ellipse(0.52, 0.08, 0.085, 0.085, body)
    canvas.box(0.53, 0.05, 0.61, 0.1, _GLASS)


def _paint_helicopter(canvas: _Canvas, body: Colour, shade: Colour, pose: int) -> None:
    span = (0.46, 0.3, 0.12, 0.3)[pose]
    # Mast and rotor. The blades turn, so their length depends on the pose.
    canvas.line(0.6, 0.04, 0.6, 0.16, _DARK, thickness=0.03)
    canvas.line(0.54 - span, 0.03, 0.54 + span, 0.03, (70, 70, 78), thickness=0.035)

    canvas.polygon([(0.04, 0.2), (0.5, 0.22), (0.5, 0.36), (0.06, 0.25)], body)
    canvas.polygon([(0.0, 0.1), (0.07, 0.1), (0.12, 0.26), (0.05, 0.28)], shade)
    canvas.ellipse(0.66, 0.31, 0.25, 0.17, body)
    canvas.ellipse(0.78, 0.28, 0.11, 0.1, _GLASS)
    canvas.line(0.42, 0.38, 0.88, 0.42, shade, thickness=0.03)

    canvas.line(0.52, 0.46, 0.5, 0.54, _DARK, thickness=0.025)
    canvas.line(0.78, 0.46, 0.8, 0.54, _DARK, thickness=0.025)
    canvas.line(0.38, 0.54, 0.94, 0.54, _DARK, thickness=0.03)


def _paint_dog(canvas: _Canvas, body: Colour, shade: Colour, pose: int) -> None:
    stride = (0.07, 0.0, -0.07, 0.0)[pose]
    # Legs first, so that the trunk hides the hips. The darker pair swings the other way.
    for hip, sign in ((0.2, 1), (0.28, -1), (0.58, 1), (0.66, -1)):
        canvas.line(
            hip, 0.44, hip + sign * stride, 0.72, shade if sign < 0 else body, thickness=0.07
        )

    canvas.line(0.14, 0.32, 0.02, 0.16 + 0.5 * abs(stride), body, thickness=0.05)
    canvas.ellipse(0.42, 0.38, 0.31, 0.14, body)

    canvas.ellipse(0.78, 0.22, 0.15, 0.13, body)
    canvas.ellipse(0.9, 0.27, 0.09, 0.06, shade)
    canvas.ellipse(0.97, 0.245, 0.025, 0.025, _DARK)
    canvas.ellipse(0.7, 0.2, 0.05, 0.13, shade, angle=15)
    canvas.ellipse(0.82, 0.18, 0.022, 0.022, _DARK)


def _paint_bird(canvas: _Canvas, body: Colour, shade: Colour, pose: int) -> None:
    tip = (0.04, 0.3, 0.66, 0.3)[pose]
    canvas.polygon([(0.0, 0.3), (0.22, 0.36), (0.2, 0.48), (0.02, 0.46)], shade)
    canvas.ellipse(0.48, 0.4, 0.3, 0.15, body)
    canvas.ellipse(0.77, 0.3, 0.13, 0.12, body)
    canvas.polygon([(0.88, 0.27), (1.0, 0.32), (0.88, 0.36)], (240, 170, 40))
    canvas.ellipse(0.8, 0.27, 0.025, 0.025, _DARK)
    canvas.ellipse(0.55, 0.46, 0.16, 0.07, (244, 240, 228))
    canvas.polygon([(0.3, 0.36), (0.58, 0.36), (0.3, tip)], shade)


def _paint_bell(canvas: _Canvas, body: Colour, shade: Colour, pose: int) -> None:
    swing = (-0.12, 0.0, 0.12, 0.0)[pose]
    # The loop and the clapper lie behind the bell.
    canvas.ellipse(0.5, 0.1, 0.1, 0.1, shade)
    canvas.ellipse(0.5 + swing, 1.0, 0.1, 0.1, _DARK)

    canvas.polygon(
        [
            (0.36, 0.16),
            (0.64, 0.16),
            (0.76, 0.36),
            (0.8, 0.7),
            (0.98, 0.96),
            (0.02, 0.96),
            (0.2, 0.7),
            (0.24, 0.36),
        ],
        body,
    )
    canvas.polygon(
        [(0.4, 0.22), (0.5, 0.22), (0.42, 0.7), (0.3, 0.88), (0.26, 0.7)], (255, 240, 176)
    )
    canvas.box(0.02, 0.88, 0.98, 0.97, shade)


def _paint_drum(canvas: _Canvas, body: Colour, shade: Colour, pose: int) -> None:
    left, right = ((0.04, 0.3), (0.16, 0.16), (0.3, 0.04), (0.16, 0.16))[pose]
    canvas.box(0.06, 0.4, 0.94, 0.84, body)
    canvas.ellipse(0.5, 0.84, 0.44, 0.1, shade)
    # The cords zigzag round the drum.
    for corner in range(4):
        x = 0.06 + 0.22 * corner
        canvas.line(x, 0.44, x + 0.11, 0.86, (244, 240, 228), thickness=0.025)
        canvas.line(x + 0.11, 0.86, x + 0.22, 0.44, (244, 240, 228), thickness=0.025)

    # Head of the drum, and two sticks that strike in turn.
    canvas.ellipse(0.5, 0.4, 0.45, 0.12, shade)
    canvas.ellipse(0.5, 0.39, 0.41, 0.095, (246, 242, 232))
    canvas.line(0.02, left, 0.36, 0.36 if left > 0.2 else 0.2, (150, 98, 52), thickness=0.05)
    canvas.line(0.98, right, 0.64, 0.36 if right > 0.2 else 0.2, (150, 98, 52), thickness=0.05)


Painter = Callable[[_Canvas, Colour, Colour, int], None]

# class: (height / width, painter, hue, range of hues)
_LOOKS: dict[str, tuple[float, Painter, float, float]] = {
    "car": (0.52, _paint_car, 0.98, 0.07),
    "bus": (0.66, _paint_bus, 0.74, 0.09),
    "motorcycle": (0.82, _paint_motorcycle, 0.34, 0.12),
    "helicopter": (0.57, _paint_helicopter, 0.49, 0.09),
    "dog": (0.76, _paint_dog, 0.065, 0.05),
    "bird": (0.68, _paint_bird, 0.61, 0.09),
    "bell": (1.1, _paint_bell, 0.145, 0.06),
    "drum": (0.96, _paint_drum, 0.87, 0.09),
}
CLASS_NAMES = tuple(_LOOKS)


def aspect_of(class_name: str) -> float:
    """Return the height over the width of a class's look."""
    return _LOOKS[class_name][0]
