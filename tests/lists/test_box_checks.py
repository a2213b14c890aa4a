"""Boxes in another unit are refused; a few broken ones are counted."""

import dataclasses

import numpy as np
import pytest

from earshot.errors import DataError
from pipeline.lists.box_checks import check_boxes
from tests.helpers.scoring.score_examples import make_row, make_table


def make_boxes(num_boxes=40):
    """Boxes of vehicles: x1 y1 x2 y2 as shares of the frame, most of them in its lower half."""
    rng = np.random.default_rng(0)
    corners = rng.uniform((0, 0.3), (0.7, 0.7), (num_boxes, 2))
    return np.concatenate([corners, corners + rng.uniform(0.05, 0.25, (num_boxes, 2))], axis=1)


def table_of(boxes):
    return make_table(
        [make_row(f"s{i}", boxes=[box.tolist()], splits=["test"]) for i, box in enumerate(boxes)]
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda boxes: boxes * (1280, 720, 1280, 720),  # pixels
        lambda boxes: boxes * 100,  # percent
        lambda boxes: boxes * 2,  # pixels of 1280x720 by the size of 640x360 copies
        lambda boxes: boxes * 3.2,  # of 400x225 copies
        lambda boxes: boxes / 256,  # divided twice
        lambda boxes: np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1),  # sizes
        lambda boxes: boxes[:, [2, 3, 0, 1]],  # the far corner first
        lambda boxes: boxes - 1,
    ],
)
def test_boxes_in_another_unit_are_refused(change):
    assert check_boxes(table_of(make_boxes()), name="d") == ""
    with pytest.raises(
        DataError, match=r"^d: \d+ of 40 boxes leave the frame and \d+ have no area"
    ):
        check_boxes(table_of(change(make_boxes())), name="d")


def test_a_few_broken_boxes_are_counted_and_named():
    boxes = make_boxes()
    boxes[3, 2] = -2.9e16
    boxes[5, 3] = boxes[5, 1]
    boxes[7] = (-0.01, 0, 1.015, 1)  # a little beyond, as annotators draw
    note = check_boxes(table_of(boxes), name="d")
    assert note.startswith("d: 1 of 40 boxes leave the frame and 1 have no area, for example s3 [")
    assert "s5 [" in note
    assert check_boxes(make_table([]), name="d") == ""


def test_no_table_is_written_of_boxes_in_another_unit(tmp_path, monkeypatch):
    from pipeline.base.project import Project
    from pipeline.datasets import dataset, listing
    from stages import sources

    about = dataset.load("sample")
    clips, _ = None, None
    samples = table_of(make_boxes() * 640)

    def build_tables(parameters, *, cache_dir):
        return clips, samples

    monkeypatch.setattr(
        listing, "load", lambda name: dataclasses.replace(about, build_tables=build_tables)
    )
    project = Project(tmp_path, {"sources": {"sample": {}}})
    with pytest.raises(DataError, match="sample: 40 of 40 boxes leave the frame"):
        sources.main(project, "sample")
    assert not project.samples_table_path("sample").exists()
