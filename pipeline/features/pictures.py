"""Draw what is cached for a sample: boxes, flow, spectrogram and localization map.

All functions take arrays and return arrays; pictures are uint8 RGB ``(height, width, 3)``. The
report and the ``show`` command use the same functions, so a colour means the same thing in both.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from earshot.errors import DataError

BOX_COLOUR = (0, 224, 96)
# Of maps, from low to high: lightness grows with the value. The report draws with them, too.
HEAT_COLOURS = ((64, 10, 103), (150, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))
HEAT_OPACITY = 0.85  # of the highest value
# In pixels. Shorter motion is noise, which must not get full colour.
_MINIMAL_FLOW_SCALE = 0.5


def resize_shown(picture: np.ndarray, *, width: int, height: int) -> np.ndarray:
    """Resize a picture for display: area averages when shrinking, linear when enlarging.

    Args:
        picture: ``(h, w)`` or ``(h, w, c)``.
        width: Of the result, in pixels.
        height: Of the result, in pixels.

    Returns:
        ``(height, width)`` or ``(height, width, c)``, the same dtype.
    """
    is_shrinking = width <= picture.shape[1] and height <= picture.shape[0]
    return cv2.resize(
        picture, (width, height), interpolation=cv2.INTER_AREA if is_shrinking else cv2.INTER_LINEAR
    )


def fit(picture: np.ndarray, *, max_width: int, max_height: int) -> np.ndarray:
    """Scale a picture by one factor so that it just fits into a field.

    Args:
        picture: ``(h, w)`` or ``(h, w, c)``.
        max_width: Of the field, in pixels.
        max_height: Of the field, in pixels.

    Returns:
        The picture in the size that fits; each side has at least 1 pixel.
    """
    height, width = picture.shape[:2]
    factor = min(max_width / width, max_height / height)
    # A very long picture would otherwise get a side of no pixels.
    return resize_shown(
        picture, width=max(1, round(width * factor)), height=max(1, round(height * factor))
    )


def draw_boxes(picture: np.ndarray, boxes: Sequence[Sequence[float]]) -> np.ndarray:
    """Draw boxes into a copy of a picture.

    Args:
        picture: uint8 RGB ``(height, width, 3)``.
        boxes: Normalized ``x1 y1 x2 y2``. Parts outside of the picture are cut, and boxes with
            values that are not finite are left out.

    Returns:
        uint8 RGB ``(height, width, 3)``.
    """
    picture = picture.copy()
    height, width = picture.shape[:2]
    thickness = max(1, round(min(height, width) / 120))

    for box in boxes:
        if not np.all(np.isfinite(box)):
            continue

        # A coordinate of 1 is the last pixel, not the one behind it.
        x1, y1, x2, y2 = np.clip(np.asarray(box, float), 0.0, 1.0) * [
            width - 1,
            height - 1,
            width - 1,
            height - 1,
        ]
        corners = (round(x1), round(y1)), (round(x2), round(y2))

        # A dark line below the bright one keeps the box visible on any ground.
        cv2.rectangle(picture, *corners, (0, 0, 0), thickness + 2)
        cv2.rectangle(picture, *corners, BOX_COLOUR, thickness)
    return picture


def draw_mask(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draw the outline of a mask into a copy of a picture, in the colour of boxes.

    Args:
        picture: uint8 RGB ``(height, width, 3)``.
        mask: bool ``(h, w)`` of any size, over the whole picture.

    Returns:
        uint8 RGB ``(height, width, 3)``.
    """
    picture = picture.copy()
    height, width = picture.shape[:2]
    thickness = max(1, round(min(height, width) / 120))
    enlarged = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(enlarged, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, (0, 0, 0), thickness + 2)
    cv2.drawContours(picture, outlines, -1, BOX_COLOUR, thickness)
    return picture


def colour_flow(flow: np.ndarray, *, full_scale: float | None = None) -> tuple[np.ndarray, float]:
    """Draw flow with the colour wheel.

    Hue is the direction: right red, down yellow-green, left cyan, up violet. Saturation is the
    length: white is still, full colour is ``full_scale`` or more.

    Args:
        flow: ``(2, h, w)``: x and y in pixels.
        full_scale: In pixels. None takes the 99th percentile of the lengths, at least 0.5.

    Returns:
        uint8 RGB ``(h, w, 3)``, and the full scale in pixels.

    Raises:
        DataError: The flow has another shape.
    """
    if flow.ndim != 3 or flow.shape[0] != 2:
        raise DataError(f"flow has shape {flow.shape}, expected (2, height, width)")

    # One NaN would make the percentile below NaN, and with it every colour.
    flow = np.where(np.isfinite(flow), flow, 0).astype(np.float32)
    length = cv2.magnitude(flow[0], flow[1])
    # A percentile: one wild vector must not leave all others white.
    if full_scale is None:
        full_scale = max(float(np.percentile(length, 99)), _MINIMAL_FLOW_SCALE)

    # For float32, OpenCV wants the hue in degrees and the other two in 0 to 1.
    hue = cv2.phase(flow[0], flow[1], angleInDegrees=True)
    saturation = np.minimum(length / full_scale, 1.0)
    wheel = cv2.merge([hue, saturation, np.ones_like(saturation)])
    return np.rint(cv2.cvtColor(wheel, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8), full_scale


def draw_colour_wheel(size: int) -> np.ndarray:
    """Draw the legend of ``colour_flow``: the centre is no motion, the rim is full scale.

    Args:
        size: Of both sides, in pixels.

    Returns:
        uint8 RGB ``(size, size, 3)``, white outside of the wheel.
    """
    axis = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    wheel, _ = colour_flow(np.stack([x, y]), full_scale=1.0)
    wheel[np.hypot(x, y) > 1.0] = 255
    return wheel


def colour_spectrogram(spectrogram: np.ndarray) -> np.ndarray:
    """Draw a log spectrogram with low frequencies at the bottom.

    Contrast runs from the 2nd to the 99.8th percentile of the values; silence is one dark colour.

    Args:
        spectrogram: ``(num_bins, num_frames)``, low frequencies first.

    Returns:
        uint8 RGB ``(num_bins, num_frames, 3)``.

    Raises:
        DataError: The spectrogram has another shape.
    """
    if spectrogram.ndim != 2:
        raise DataError(
            f"spectrogram has shape {spectrogram.shape}, expected (num_bins, num_frames)"
        )

    # One NaN would make both percentiles NaN.
    values = np.nan_to_num(spectrogram.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(values, [2, 99.8])
    scaled = (
        np.clip((values - low) / (high - low), 0.0, 1.0) if high > low else np.zeros_like(values)
    )

    # The first row is the lowest frequency, but the top of a picture.
    grey = np.rint(scaled[::-1] * 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_MAGMA), cv2.COLOR_BGR2RGB)


def normalize_map(localization_map: np.ndarray) -> np.ndarray:
    """Normalize a localization map to 0..1.

    Args:
        localization_map: ``(h, w)``. Values that are not finite count as the minimum.

    Returns:
        float32 ``(h, w)``; zeros for a constant map.

    Raises:
        DataError: The map has another shape.
    """
    values = np.asarray(localization_map, np.float32)
    if values.ndim != 2:
        raise DataError(f"localization map has shape {values.shape}, expected (height, width)")

    is_finite = np.isfinite(values)
    if not is_finite.any():
        return np.zeros_like(values)

    low, high = values[is_finite].min(), values[is_finite].max()
    if high <= low:
        return np.zeros_like(values)
    return np.where(is_finite, (values - low) / (high - low), 0.0).astype(np.float32)


def colour_map(values: np.ndarray) -> np.ndarray:
    """Colour a normalized map: low values are clear, high ones bright.

    Args:
        values: ``(h, w)``, 0 to 1.

    Returns:
        uint8 RGBA ``(h, w, 4)``, to be laid over a picture.
    """
    places, colours = np.linspace(0, 1, len(HEAT_COLOURS)), np.array(HEAT_COLOURS, np.float64)
    channels = [np.interp(values, places, colours[:, channel]) for channel in range(3)]
    return np.rint(np.stack([*channels, values * HEAT_OPACITY * 255], axis=-1)).astype(np.uint8)


def overlay_map(picture: np.ndarray, localization_map: np.ndarray) -> np.ndarray:
    """Draw the normalized map over the picture; where it is low, the picture stays as it is.

    Args:
        picture: uint8 RGB ``(height, width, 3)``.
        localization_map: ``(h, w)``, of any size. It is stretched over the picture.

    Returns:
        uint8 RGB ``(height, width, 3)``.
    """
    height, width = picture.shape[:2]
    values = cv2.resize(
        normalize_map(localization_map), (width, height), interpolation=cv2.INTER_LINEAR
    )
    heat = colour_map(values).astype(np.float32)
    opacity = heat[..., 3:] / 255
    return np.rint(picture * (1 - opacity) + heat[..., :3] * opacity).astype(np.uint8)


def encode(picture: np.ndarray, suffix: str, *, quality: int = 60) -> bytes:
    """Encode a picture as the content of a file.

    Args:
        picture: uint8 RGB ``(height, width, 3)``.
        suffix: ``.webp``, ``.jpg`` or ``.png``.
        quality: 1 to 100. It means nothing for PNG.

    Returns:
        The bytes of the file.
    """
    flag = {".webp": cv2.IMWRITE_WEBP_QUALITY, ".jpg": cv2.IMWRITE_JPEG_QUALITY}.get(suffix)
    is_written, data = cv2.imencode(
        suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [] if flag is None else [flag, quality]
    )
    assert is_written, f"OpenCV cannot write {suffix}"
    return data.tobytes()
