"""The detector behind the vision-only topline: cached detections, weights known by content."""

import pickle

import numpy as np
import pytest

from earshot.errors import DataError
from earshot.tables import SAMPLES, write_table
from eval.entrants.vision_only import VisionOnlyMaps
from pipeline.base.project import Project
from pipeline.features import detections
from pipeline.features.detections import (
    COCO_WEIGHTS_URLS,
    Detections,
    Parameters,
    pack_detections,
    unpack_detections,
)
from pipeline.features.feature import Decoded, Moment
from pipeline.media.reader import MediaInfo

torch = pytest.importorskip("torch")
detector = pytest.importorskip("train.inference.detector")

NAME = "fasterrcnn_mobilenet_v3_large_320_fpn"


@pytest.fixture(scope="module")
def weights_path(tmp_path_factory):
    from torchvision.models import detection

    torch.manual_seed(0)
    model = getattr(detection, NAME)(weights=None, weights_backbone=None, num_classes=91)
    path = tmp_path_factory.mktemp("weights") / "untrained.pth"
    torch.save(model.state_dict(), path)
    return path


class Frame:
    def __init__(self, rgb):
        self.rgb = rgb


def info(duration_seconds, picture_seconds=None, **others):
    fields = dict.fromkeys(MediaInfo.__dataclass_fields__)
    fields |= {"duration_seconds": duration_seconds, "picture_seconds": picture_seconds, **others}
    return MediaInfo(**fields)


def test_detections_of_two_frames_are_one_array(weights_path, tmp_path):
    parameters = Parameters(name=NAME, weights=str(weights_path), min_score=0.0, max_boxes=5)
    feature = detector.make_detections_feature(parameters, weights_dir=tmp_path)
    assert feature.needs(Moment("s", 2.0), info(10.0)).frame_times == (2.0, 2.5)
    assert feature.needs(Moment("s", 9.8), info(10.0)).frame_times == (9.8,)
    # Before and behind the picture one frame is shown twice, and nothing would move.
    assert feature.needs(Moment("s", 9.5), info(10.02, 10.0)).frame_times == (9.5, 10.0)
    assert feature.needs(Moment("s", 9.6), info(12.0, 10.0)).frame_times == (9.6,)
    assert feature.needs(Moment("s", 11.0), info(12.0, 10.0)).frame_times == (9.98,)
    late = info(12.0, picture_start_seconds=3.0)
    assert feature.needs(Moment("s", 1.0), late).frame_times == (3.0, 3.5)
    frames = [
        Frame(np.random.default_rng(i).integers(0, 255, (90, 160, 3), np.uint8)) for i in range(2)
    ]
    extracted = feature.compute(
        Moment("s", 2.0), Decoded(frames=frames, times=[2.0, 2.5], waveform=None, sample_rate=None)
    )
    again = feature.compute(
        Moment("s", 2.0), Decoded(frames=frames, times=[2.0, 2.5], waveform=None, sample_rate=None)
    )
    np.testing.assert_array_equal(extracted.array, again.array)
    # Workers get the feature through pickle; a process without torch has equal keys.
    assert pickle.loads(pickle.dumps(feature)).parameters == feature.parameters
    without_network = detections.make_feature(parameters, weights_dir=tmp_path)
    assert without_network.parameters == feature.parameters
    assert feature.can_compute and not without_network.can_compute
    assert extracted.array.shape == (10, 7)
    assert extracted.array.dtype == np.float32
    assert extracted.attributes == {"num_frames": 2}
    boxes = extracted.array[:, 1:5]
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()
    current, following = unpack_detections(extracted.array, num_frames=2)
    assert len(current.boxes) == len(following.boxes) == 5


def test_other_weights_are_another_feature(weights_path, tmp_path):
    other = tmp_path / "other.pth"
    other.write_bytes(weights_path.read_bytes() + b"x")
    keys = [
        detector.make_detections_feature(
            Parameters(name=NAME, weights=str(path)), weights_dir=tmp_path
        ).parameters
        for path in (weights_path, other)
    ]
    assert keys[0] != keys[1]
    assert str(tmp_path) not in str(keys)


def test_packed_detections_come_back_and_make_maps():
    def found(boxes, label):
        boxes = np.array(boxes, np.float64).reshape(-1, 4)
        return Detections(boxes, np.full(len(boxes), label), np.full(len(boxes), 0.5))

    now, later = found([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], 3), found([[0, 0, 0.5, 0.5]], 3)
    array = pack_detections(now, later)
    first, second = unpack_detections(array, num_frames=2)
    np.testing.assert_array_equal(first.boxes, now.boxes)
    np.testing.assert_array_equal(second.labels, later.labels)
    assert unpack_detections(pack_detections(now), num_frames=1)[1] is None

    class Reader:
        def read(self, sample_id):
            return array

        def read_attributes(self, sample_id):
            return {"num_frames": 2}

    maps = VisionOnlyMaps(["a"], Reader())
    assert len(maps) == 1
    assert maps[0].sum() == 112 * 112  # the still one of the two is gone
    assert VisionOnlyMaps(["a"], Reader(), has_temporal_filter=False)[0].sum() == 2 * 112 * 112
    with pytest.raises(
        DataError, match=r"detections have shape \(3, 6\), expected \(num_boxes, 7\)"
    ):
        unpack_detections(np.zeros((3, 6)), num_frames=1)


def test_addresses_of_weights_are_torchvisions():
    from torchvision.models import get_model_weights

    for name, url in COCO_WEIGHTS_URLS.items():
        assert url == get_model_weights(name).DEFAULT.url


def test_weights_that_cannot_be_had_are_one_sentence(weights_path, tmp_path, monkeypatch):
    def make(**parameters):
        return detector.make_detections_feature(
            Parameters(name=NAME, **parameters), weights_dir=tmp_path
        )

    remedy = (
        r"set detections.detector.weights to the path of torchvision's file for this detector, "
        r"or take the dataset out of detections.datasets$"
    )
    with pytest.raises(
        DataError, match=rf"nothing.pth: found no such file of weights, .*; {remedy}"
    ):
        make(weights=str(tmp_path / "nothing.pth"))
    other = tmp_path / "other.pth"
    torch.save({"backbone": torch.zeros(3)}, other)
    with pytest.raises(DataError, match=f"other.pth: not weights of {NAME}; {remedy}"):
        make(weights=str(other))

    monkeypatch.setitem(COCO_WEIGHTS_URLS, NAME, "http://127.0.0.1:9/detector-907ea3f9.pth")
    with pytest.raises(DataError, match=rf"http://127.* cannot be fetched: .*refused.*; {remedy}"):
        make(weights="coco")


def test_tables_are_missed_before_weights_are_fetched(tmp_path, monkeypatch):
    from stages import detections as stage

    monkeypatch.setattr(stage, "make_detections_feature", None)
    project = Project(tmp_path, {"detections": {"detector": {}}})
    with pytest.raises(DataError, match=r"samples\.parquet: not found; the stage that writes"):
        stage.main(project, "local")
    write_table(project.samples_table_path("local"), [], SAMPLES)
    with pytest.raises(DataError, match=r"downloads\.parquet: not found; the stage that writes"):
        stage.main(project, "local")
