"""A setting that changes nothing where it is given is refused before any work, or told."""

import copy
import dataclasses

import pytest

from earshot.errors import ParameterError
from pipeline.base.parameters import read_yaml
from pipeline.base.project import Project
from tests.helpers.changed_params import check_changed_params
from tests.helpers.paths import ROOT
from train.models.registry import METHODS, build_parameters, load_method
from train.models.training_parameters import TrainingParameters
from train.neighbours.neighbour_lists import NeighbourParameters
from train.runs.idle_settings import (
    NETWORK_SETTINGS,
    find_switched_off,
    find_unread,
    read_settings,
)
from train.runs.settings import read_run_parameters


def find_readers(setting: str) -> set[str]:
    """Return the methods in which a setting of all methods has an effect."""
    found = {name: find_unread(build_parameters({"method": name}, "test")) for name in METHODS}
    return {name for name in METHODS if setting not in found[name]}


def test_each_method_names_the_shared_settings_that_it_reads():
    """Of the networks: by their code. What has no pooling of sound has none to choose."""
    pooled = {"attention_resnet", "ezvsl", "fnac", "hardpos", "htf", "lvs", "slavc"}
    pooled |= {"sslalignment", "ssltie"}
    assert find_readers("audio_pooling") == pooled
    assert find_readers("spectrogram_std") == pooled - {"ssltie"}
    assert find_readers("audio_width") == set(METHODS) - {"attention10k", "avobject"}
    for setting in ("backbone", "width", "map_stride", "image_size"):
        assert find_readers(setting) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_no_setting_of_a_method_is_without_a_reader(method):
    cls = load_method(method).Parameters
    own = {field.name for field in dataclasses.fields(cls)}
    own -= {field.name for field in dataclasses.fields(TrainingParameters)}
    # The search for neighbours takes its own from all of them.
    own -= {field.name for field in dataclasses.fields(NeighbourParameters)}
    assert own <= read_settings(method)
    assert set(NETWORK_SETTINGS) <= {field.name for field in dataclasses.fields(cls)}


def test_a_method_may_read_its_settings_in_another_room(tmp_path, monkeypatch):
    """Those of its own often do, in a module of ``train/networks``."""
    files = {
        "train/models/mine.py": "from train.networks.ours import make_parts\n",
        "train/networks/ours.py": "def make_parts(parameters):\n    return parameters.map_stride\n",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr("train.runs.idle_settings._SOURCE_DIR", tmp_path)
    assert read_settings("mine") == {"map_stride"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train.dmc.audio_pooling": "mean"},
            "audio_pooling is 'mean', which changes nothing: dmc",
        ),
        ({"train.sspl.spectrogram_std": 2.0}, "spectrogram_std is 2.0, .*: sspl reads no spectrog"),
        ({"train.avobject.audio_width": 16}, "audio_width is 16, which changes nothing: avobject"),
        (
            {
                "released": ["lvs_vggsound"],
                "variants": ["spectrograms-lvs"],
                "weights.lvs_vggsound.settings": {"learning_rate": 3.0},
            },
            "lvs_vggsound.settings has 'learning_rate', which changes nothing: weights that are",
        ),
        (
            {"flow.aggregation": "max"},
            "aggregation is 'max', .*: context_seconds .0.125. holds one",
        ),
        (
            {"feature_variants.flow-raft.flow": {"window_size": 21}},
            "flow-raft.flow.window_size is 21, which changes nothing: it is Farneback's",
        ),
        (
            {"cluster.scheduler_address": "tcp://a:1", "cluster.scheduler_file": "a.json"},
            "scheduler_file is 'a.json', .*: tasks run on the cluster at scheduler_address",
        ),
        (
            {"cluster.scheduler_file": "a.json", "cluster.memory_limit_gib": 3},
            "memory_limit_gib is 3.0, .*: tasks run on the cluster of scheduler_file",
        ),
        (
            {"sources.urbansas.unlabelled_every_seconds": 2},
            "every_seconds is 2.0, .*: splits does not have urbansas_unlabelled",
        ),
        (
            {"sources.urbansas.folder": "../a", "sources.urbansas.archives": ["b*"]},
            "archives is .'b.',., which changes nothing: folder is set",
        ),
        (
            {"sources.vggsound.lists_dir": "../a", "sources.vggsound.htf_url": "http://b"},
            "htf_url is 'http://b', which changes nothing: lists_dir is set",
        ),
        ({"waveform_datasets": ["vggsound"]}, "waveform_datasets has 'vggsound', which `datasets`"),
        ({"detections.datasets": ["urbansas"]}, "detections.datasets has 'urbansas', which `data"),
    ],
)
def test_what_changes_nothing_is_refused(changes, message):
    with pytest.raises(ParameterError, match=message):
        check_changed_params(changes)


def test_a_default_and_what_is_taken_over_are_no_mistakes():
    """A default takes back the value of a preset; a preset is of several methods."""
    assert check_changed_params({"train.dmc.audio_pooling": "max"}) == []
    changes = {
        "models": ["dmc"],
        "waveform_datasets": ["sample"],
        "train_presets.small.audio_pooling": "mean",
    }
    (note,) = check_changed_params(changes)
    assert note == "dmc: audio_pooling without effect: dmc has nothing that reads it"


@pytest.mark.parametrize(
    ("run", "changes", "setting", "why"),
    [
        ("ezvsl", {}, "plateau_factor", "schedule is cosine"),
        ("ezvsl", {"select_on": "last"}, "select_by", "with select_on last no epochs are"),
        ("lvs_144k", {}, "num_held_out", "select_on is last"),
        ("ezvsl", {}, "object_guidance_alpha", "object_guidance is none"),
        ("htf", {"loss": "multiple_instance"}, "epsilon", "loss is multiple_instance"),
        ("lvs", {"has_hard_negatives": False}, "epsilon_negative", "has_hard_negatives is false"),
        ("ssltie", {"mask_probability": 0.0}, "mask_times", "mask_probability is 0"),
        ("avobject", {}, "max_shift", "contrast_with is clips"),
        ("coarsetofine_1", {}, "margin", "stage 1 has no parts"),
        (
            "rcgrad_vggsound",
            {"plateau_patience": 9},
            "plateau_factor",
            "with early_stop_patience 10 and plateau_patience 9 the training ends when",
        ),
        (
            "rcgrad_vggsound",
            {"plateau_floor": 0.01},
            "plateau_factor",
            "learning_rate 0.001 is not above plateau_floor 0.01",
        ),
    ],
)
def test_a_setting_is_switched_off_by_another_one(run, changes, setting, why):
    params = copy.deepcopy(read_yaml(ROOT / "params.yaml"))
    params["train"][run] |= changes
    found = find_switched_off(read_run_parameters(Project(ROOT, params), run))
    assert found[setting].startswith(why)


def test_nothing_is_switched_off_in_the_settings_that_an_ablation_changes():
    project = Project(ROOT, read_yaml(ROOT / "params.yaml"))
    for run, settings in {
        "fnac": {"num_contrast_epochs", "affinity_weight"},
        "ssltie": {"mask_times", "mask_bands"},
        "lvs": {"epsilon_negative"},
        "htf": {"epsilon", "margin"},
        "rcgrad_vggsound": {"plateau_factor", "plateau_patience"},
    }.items():
        assert not settings & find_switched_off(read_run_parameters(project, run)).keys()


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        # `dvc exp run -S train.fnac.affinity_weight=0` leaves the other settings of the run.
        (
            {"models": ["fnac"], "train.fnac.affinity_weight": 0.0},
            "fnac: num_contrast_epochs without effect: affinity_weight is 0",
        ),
        (
            {"train.ezvsl.num_held_out": 9},
            "ezvsl: num_held_out without effect: sample has the split 'val'",
        ),
        (
            {"train_presets.small.epochs": 1},
            "ezvsl, htf: warmup_epochs without effect: epochs is 1, so the training ends before",
        ),
        ({"train.ezvsl.early_stop_patience": 14}, "ezvsl: early_stop_patience without effect: epo"),
        (
            {"models": ["fnac"], "train.fnac.epochs": 4, "train.fnac.warmup_epochs": 1},
            "fnac: affinity_weight, num_contrast_epochs without effect: epochs is 4, and the first",
        ),
        (
            {"train.ezvsl.object_guidance_weights": "resnet18.pth"},
            "ezvsl: object_guidance_weights without effect: object_guidance is none",
        ),
        (
            {"flow.fps": 4.0},
            "flow: context_seconds 0.125 is no whole number of pairs at 4 fps, so 1 of 0.25 sec",
        ),
        (
            {"flow.context_seconds": 0.3},
            "flow: context_seconds 0.3 is no whole number of pairs at 8 fps, so 2 of 0.25 seconds",
        ),
        (
            {"released": ["lvs_vggsound"], "variants": ["spectrograms-lvs"]}
            | {"weights.lvs_vggsound.trained_on": "vggsound/vggss_144"},
            "lvs_vggsound: trained_on is 'vggsound/vggss_144', did you mean vggsound/vggss_144k?;",
        ),
        (
            {
                "models": ["avobject"],
                "waveform_datasets": ["sample"],
                "sequence_datasets": ["sample"],
                "sequence.size": 64,
            },
            "avobject: reads sequences with a side of 160, but sequence.size is 64",
        ),
        (
            {"waveform.preset": "soundnet"},
            "waveform: preset without effect: waveform_datasets is",
        ),
        (
            {"evaluate.object_guidance_weights": "resnet18.pth"},
            "evaluate: object_guidance_weights without effect: baselines has none of ogl_l1",
        ),
        (
            {"evaluate.subsets.sample": ["final_single"]}
            | {"evaluate.negative_audio.subsets": {"sample": ["single"]}},
            "evaluate.negative_audio.subsets.sample has 'single', which evaluate.subsets.sample l",
        ),
        ({"frames.short_side": 120}, "ezvsl, htf: reads frames with a side of 176, but frames.sho"),
    ],
)
def test_what_changes_little_is_told(changes, note):
    (found,) = check_changed_params(changes)
    assert found.startswith(note)


def test_an_exact_context_is_not_noted():
    assert check_changed_params({"flow.context_seconds": 0.375}) == []
