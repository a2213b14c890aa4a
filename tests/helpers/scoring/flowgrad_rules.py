"""FlowGrad's evaluation in plain steps, without any of Earshot's code."""

import cv2
import numpy as np
from PIL import Image

SIDE = 224


def flow_picture(flow, folder):
    """The uint8 picture that is scored, of a flow ``(h, w, 2)``: stored as JPEG, then resized."""
    magnitude, _ = cv2.cartToPolar(
        np.ascontiguousarray(flow[..., 0]), np.ascontiguousarray(flow[..., 1])
    )
    cv2.imwrite(str(folder / "flow.jpg"), magnitude)
    return np.array(Image.open(folder / "flow.jpg").resize((SIDE, SIDE)))


def clean(heatmap):
    """A map of RCGrad ``(224, 224)``, scaled to 0..1, with 0 below the median."""
    heatmap = heatmap - heatmap.min()
    if heatmap.max() > 0:
        heatmap = heatmap / heatmap.max()
    middle = np.sort(heatmap.ravel())[SIDE * SIDE // 2]
    return np.where(heatmap < middle, 0, heatmap)


def truth_map(boxes, width, height):
    """The ground truth of boxes x, y, w, h in pixels of the video."""
    truth = np.zeros((SIDE, SIDE))
    for x, y, w, h in boxes:
        left, top = int(x / width * SIDE), int(y / height * SIDE)
        truth[top : top + int(h / height * SIDE), left : left + int(w / width * SIDE)] = 1
    return truth


def box_mask(boxes):
    """The mask of boxes x, y, w, h as shares of the frame."""
    mask = np.zeros((SIDE, SIDE))
    for x, y, w, h in boxes:
        left, top = int(x * SIDE), int(y * SIDE)
        mask[top : int(top + h * SIDE), left : int(left + w * SIDE)] = 1
    return mask


def ciou(marked_map, truth):
    """The score of a map: what is at least 0.5 is marked."""
    marked = marked_map >= 0.5
    return (marked * truth).sum() / (truth.sum() + (marked & (truth == 0)).sum())


def metrics(cious):
    """Success at 0.3 and at 0.5, and the AUC."""
    cious = np.array(cious)
    curve = [np.mean(cious >= 0.05 * step) for step in range(21)]
    area = sum((curve[step] + curve[step + 1]) / 2 * 0.05 for step in range(20))
    return np.mean(cious >= 0.3), np.mean(cious >= 0.5), area
