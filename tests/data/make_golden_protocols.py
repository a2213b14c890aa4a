"""Make ``golden_protocols.npz``: what the authors' evaluation code says of 60 maps.

    python -m tests.data.make_golden_protocols

The numbers were made by running the authors' code (see docs/protocols.md). They lie in the shared
folder, beside the published list of boxes. Copied from there are

- ``lowres_maps`` (60, 14, 14) float32: the maps that were scored
- ``boxes`` (60, 4, 4) float64: the VGG-SS boxes of these samples; rows of -1 are absent
- ``gt_area`` (60,) int32: pixels of each ground-truth map
- ``ciou_P`` (60,), ``auc_P``, ``ap50_P``, ``ap30_P``: scores under protocol P
- ``flickr_boxes256`` (8, 4, 4), ``flickr_gt_sum``, ``flickr_gt_half_area``: consensus maps
"""

import json

import numpy as np

from tests.helpers.paths import DATA, SHARED

PROTOCOLS = ("lvs", "ezvsl_val", "ezvsl_test", "htf", "flowgrad")


def main() -> None:
    """Write the file."""
    golden = np.load(SHARED / "golden" / "protocols.npz")
    entries = json.loads((SHARED / "lists" / "ezvsl" / "vggss.json").read_text())
    index = golden["metric_vggss_index"]

    all_boxes = [entries[number]["bbox"] for number in index]
    boxes = np.full((len(index), max(map(len, all_boxes)), 4), -1.0)
    for row, found in zip(boxes, all_boxes, strict=True):
        row[: len(found)] = found

    arrays = {
        "lowres_maps": golden["metric_lowres_maps"],
        "boxes": boxes,
        "gt_area": golden["vggss_gt_area"][index],
    }
    for name in PROTOCOLS:
        for score in ("ciou", "auc", "ap50", "ap30"):
            arrays[f"{score}_{name}"] = golden[f"{score}_{name}"]
    for name in ("flickr_boxes256", "flickr_gt_sum", "flickr_gt_half_area"):
        arrays[name] = golden[name]
    np.savez_compressed(DATA / "golden_protocols.npz", **arrays)


if __name__ == "__main__":
    main()
