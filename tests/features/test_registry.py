"""The list of features: each line fits its module, and a new one needs no edit elsewhere."""

import dataclasses

import pytest
import yaml

from earshot.errors import ParameterError
from pipeline.base.project import Project
from pipeline.features.configure import configure_feature, load_module, restore_feature
from pipeline.features.registry import FEATURES, STANDARD_FEATURES, find_companions
from tests.helpers.paths import ROOT


@pytest.fixture
def project(tmp_path):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["detections"]["detector"]["weights"] = str(tmp_path / "weights.pth")
    (tmp_path / "weights.pth").write_bytes(b"weights")
    return Project(tmp_path, params)


@pytest.mark.parametrize("name", FEATURES)
def test_a_line_of_the_list_fits_its_module(name, project):
    feature = configure_feature(project, name)
    assert (feature.name, feature.kind) == (name, FEATURES[name].kind)
    assert feature.can_compute == (not FEATURES[name].has_weights)


@pytest.mark.parametrize("name", STANDARD_FEATURES)
def test_recorded_parameters_make_the_same_feature(name, project):
    feature = configure_feature(project, name)
    restored = restore_feature(name, dataclasses.asdict(feature.parameters))
    assert restored.parameters == feature.parameters
    assert restored.attributes == feature.attributes


@pytest.mark.parametrize("name", FEATURES)
def test_each_feature_has_its_stage(name):
    definition = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][name]
    datasets = FEATURES[name].datasets_section or "datasets"
    assert definition["foreach"] == f"${{{datasets}}}"
    assert definition["do"]["params"] == [FEATURES[name].section]
    assert definition["do"]["outs"][0] == f"cache/${{item}}/{name}"


def test_pictures_and_motion_share_a_pass():
    assert find_companions("frames") == ("flow",)
    assert find_companions("flow") == ("frames",)
    for name in ("spectrograms", "waveforms", "detections"):
        assert find_companions(name) == ()


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        ParameterError, match="feature 'raft' is not known, expected one of frames,"
    ):
        load_module("raft")
