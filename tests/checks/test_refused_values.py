"""Values that would end in a wrong number or a crash deep inside are refused before any work."""

import pytest

from earshot.errors import ParameterError
from tests.helpers.changed_params import check_changed_params

DMC = {"models": ["dmc"], "waveform_datasets": ["sample"]}
COARSETOFINE = {"models": ["coarsetofine"], "variants": ["waveforms-coarsetofine"]}
AVOBJECT = {
    "models": ["avobject"],
    "waveform_datasets": ["sample"],
    "sequence_datasets": ["sample"],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # Ranges.
        ({"train.ezvsl.seed": 10**30}, "train.ezvsl.seed is 10{30}, expected 0 to"),
        ({"train.ezvsl.width": 10**9}, "train.ezvsl.width is 10{9}, expected 4 to 65536"),
        ({"train.ezvsl.embedding_size": 0}, "embedding_size is 0, expected 1 or more"),
        ({"train.ezvsl.embedding_size": -4}, "embedding_size is -4, expected 0 to 65536"),
        ({"train.htf.attention_size": -4}, "attention_size is -4, expected 0 to"),
        ({"train.htf.flow_scale": 0.0}, "flow_scale is 0.0, expected 1e-06 to"),
        ({"train.hardpos.epsilon_positive": -5.0}, "epsilon_positive is -5.0, expected -1 to 1"),
        ({"train.fnac.foreground_threshold": 5.0}, "foreground_threshold is 5.0, expected 0 to 1"),
        ({"train.ezvsl.spectrogram_std": 1e-300}, "spectrogram_std is 1e-300, expected"),
        (
            {"train.rcgrad_vggsound.plateau_factor": 1.0},
            "plateau_factor is 1, expected less than 1",
        ),
        ({"train.ezvsl.epochs": 10**30}, r"epochs is 10{30}, expected 1 to 1e\+06"),
        ({"train.ezvsl.tau": 1e-300}, "tau is 1e-300, expected 0.0001 to 100"),
        ({"train.dmc.sound_seconds": 1e9}, "sound_seconds is 10{9}.0, expected 0 to 3600"),
        ({"train.dmc.num_picture_clusters": 101}, "clusters is 101, expected at most the 100 cel"),
        ({"train.fnac.mask_width": 10**9}, "mask_width is 10{9}, expected 0 to 1000"),
        ({"train.ezvsl.init": ""}, "train.ezvsl.init is '', expected a name or a path; without"),
        ({"train.hardpos.sound_encoder": "imagenet"}, "sound_encoder is 'imagenet', expected the"),
        ({"train.ezvsl.dataset": ""}, "train.ezvsl.dataset is '', expected the name"),
        ({"hardware.num_workers": -7}, "num_workers is -7, expected 0 or more, or -1"),
        ({"spectrogram.log_offset": 1e-300}, "log_offset is 1e-300, expected 1e-30 to 1000"),
        ({"spectrogram.log_divisor": 1e30}, r"log_divisor is 1e\+30, expected 0.001 to 1000"),
        ({"spectrogram.n_fft": 10**9}, "n_fft is 10{9}, expected 16 to the 48000 samples"),
        ({"spectrogram.window_seconds": 1e-9}, "window_seconds is 1e-09, expected 0.01 to 3600"),
        ({"waveform.window_seconds": 1e12}, r"window_seconds is 1e\+12, expected 0.01 to 3600"),
        ({"flow.window_size": 10**9}, "window_size is 10{9}, expected 1 to 1000"),
        ({"flow.poly_sigma": 1e-300}, "poly_sigma is 1e-300, expected 0.001 to 1000"),
        ({"download.max_pause_seconds": 10}, "max_pause_seconds is 10.0, expected pause_seconds"),
        ({"evaluate.num_resamples": 1}, "num_resamples is 1, expected 40 to 10000000"),
        ({"download.validation": {"silence_dbfs": 60}}, "silence_dbfs is 60.0, expected -200 to"),
        ({"download.validation": {"still_difference": -1}}, "still_difference is -1.0, expected 0"),
        # Names.
        ({"train.ezvsl.val_split": "vla"}, "val_split is 'vla', did you mean val"),
        ({"train.ezvsl.test_split": "singel"}, "test_split is 'singel', did you mean single"),
        ({"monitoring.loggers": ["tensorbord"]}, "has 'tensorbord', did you mean tensorboard"),
        (
            {"monitoring.callbacks": ["lightning.pytorch.callbacks.DeviceStatMonitor"]},
            "lightning.pytorch.callbacks has none, did you mean DeviceStatsMonitor",
        ),
        ({"evaluate.subsets.sample": ["singel"]}, "subsets.sample has 'singel', did you mean sing"),
        (
            {"evaluate.negative_audio.subsets": {"sample": ["singel"]}},
            "negative_audio.subsets.sample has 'singel', did you mean single",
        ),
        (
            {"evaluate.negative_audio.subsets": {"sampel": ["single"]}},
            "evaluate.negative_audio.subsets names the dataset 'sampel'",
        ),
        ({"evaluate.negative_audio.threshold_split": "vla"}, "split is 'vla', did you mean val"),
        (
            {"sources.sample.duration_seconds": 1e9},
            "duration_seconds is 10{9}.0, expected 1 to 6",
        ),
        ({"train.ezvsl.backbone": "resnet19"}, "train.ezvsl: unknown backbone 'resnet19'"),
        ({"released": ["lvs_vggsound"]}, "released lvs_vggsound reads spectrograms-lvs, which is"),
        (
            {"released": ["lvs_vggsound"], "weights.lvs_vggsound.settings": {"widht": 8}},
            "unknown key weights.lvs_vggsound.settings.widht, did you mean width",
        ),
        # Settings that do not fit each other.
        ({"train.ezvsl.init": "imagenet"}, "init is 'imagenet', whose weights have width 64, but"),
        (
            {"train.ezvsl.init": "cache/runs/lvs"},
            "init is 'cache/runs/lvs', a run of lvs with another network: 4 keys are missing",
        ),
        (
            {
                "models": ["flowgrad_en"],
                "waveform_datasets": ["sample"],
                "train.flowgrad_en.init": "cache/runs/rcgrad",
                "train.flowgrad_en.width": 16,
                "train.flowgrad_en.audio_width": 0,
            },
            r"backbone and width \(resnet18, 12\) differ from those of flowgrad_en",
        ),
        ({"train.ezvsl.backbone": "convnext_tiny"}, "width and map_stride are for ResNets"),
        (
            {"train.ezvsl.spectrogram_pooling": 400},
            "spectrogram_pooling of ezvsl .* is 400, expected",
        ),
        ({**DMC, "waveform.preset": "soundnet"}, r"sample_rate is 22050, but dmc \(dmc\) reads"),
        (
            {
                "models": ["rcgrad"],
                "waveform_datasets": ["sample"],
                "waveform.sample_rate": "native",
            },
            "sample_rate is native, but rcgrad .* needs waveforms of one length",
        ),
        ({**AVOBJECT, "sequence.fps": 16.0}, "sequence.fps is 16, but avobject .* set it to 25"),
        (
            {**AVOBJECT, "sequence.num_frames": 3},
            "num_frames is 3, but avobject .* needs 5 or more",
        ),
        (
            {**AVOBJECT, "train.avobject.contrast_with": "both", "sequence.num_frames": 7},
            "num_frames is 7, but avobject .* needs 9 or more",
        ),
        ({**AVOBJECT, "waveform.anchor": "centre"}, "anchor is centre, but avobject .* to sample"),
        (
            {**AVOBJECT, "waveform.window_seconds": 0.2},
            "window_seconds is 0.2, but the 9 frames of avobject .* last 0.36 seconds",
        ),
        (
            {
                "released": ["ssl"],
                "waveform_datasets": ["sample"],
                "waveform.preset": "soundnet",
                "weights.ssl": {"method": "ssltie", "url": "a.pth"},
            },
            r"sample_rate is 22050, but ssl \(ssltie\) reads waveforms of 16000 Hz",
        ),
        (
            {"flow.aggregation": "stack", "flow.context_seconds": 0.25, "evaluate.baselines": []},
            r"aggregation is stack, which has 2 pairs, but htf \(htf\) reads one",
        ),
        (
            {"flow.aggregation": "stack", "flow.context_seconds": 0.25},
            "aggregation is stack, which has 2 pairs, but the baseline flow reads one",
        ),
        ({"flow.components": "magnitude"}, r"components is magnitude, but htf \(htf\) reads x"),
        (
            {"flow.components": "magnitude", "evaluate.baselines": ["flow_jpeg"], "models": []},
            "components is magnitude, but the baseline flow_jpeg reads x and y",
        ),
        (
            {"models": ["hardpos"], "train.lvs.features": ["spectrograms-lvs"]}
            | {"train.hardpos.features": ["spectrograms-lvs"]},
            "run hardpos reads spectrograms-lvs, which is not computed",
        ),
        (
            {"models": ["coarsetofine_1"], "variants": ["waveforms-coarsetofine"]}
            | {"train.lvs.features": ["spectrograms-lvs"]},
            "run lvs, with which coarsetofine_1 begins, reads spectrograms-lvs, which is not comp",
        ),
        ({"hardware.devices": 3}, "batch_size is 32, expected a multiple of the 3 processes of"),
        ({"sources.sample.num_single": 0}, "subsets.sample has 'single', did you mean final_s"),
        # Two runs and one thing.
        (
            {**COARSETOFINE, "train.coarsetofine.label_encoder": "cache/runs/ezvsl"},
            "coarsetofine_1 and .* have one file of labels .*, but label_encoder is",
        ),
        (
            {**COARSETOFINE, "train.coarsetofine.label_encoder": ""},
            "have one file of labels .*, but label_encoder is 'cache/runs/lvs' and ''",
        ),
        (
            {**COARSETOFINE, "train.coarsetofine.train_split": "val"},
            "have one file of labels .*, but train_split is 'train' and 'val'",
        ),
        (
            {"models": ["ezvsl", "ezvsl_seed1"], "train.ezvsl_seed1.seed": 0},
            "models has ezvsl and ezvsl_seed1, whose settings are all the same",
        ),
    ],
)
def test_what_ends_badly_is_refused_before_any_work(changes, message):
    with pytest.raises(ParameterError, match=message):
        check_changed_params(changes)


def test_what_fits_is_accepted():
    changes = {
        **AVOBJECT,
        "models": ["avobject", "rcgrad", "flowgrad_en", "ezvsl", "ezvsl_seed1"],
        "train.flowgrad_en.init": "cache/runs/rcgrad",
        "train.ezvsl.image_size": 165,
        # A run that `models` does not name writes no labels.
        "train.coarsetofine.label_encoder": "cache/runs/ezvsl",
        "evaluate.subsets.sample": ["all", "single"],
        "evaluate.negative_audio.subsets": {"sample": ["single"]},
    }
    assert check_changed_params(changes) == []


@pytest.mark.parametrize("backbone", ["regnet_y_400mf", "convnext_tiny"])
def test_a_backbone_of_torchvision_is_accepted(backbone):
    """A RegNet cannot be made without memory, since it reads numbers from a tensor."""
    changes = {"backbone": backbone, "width": 64, "audio_width": 0, "map_stride": 32}
    assert check_changed_params({f"train.ezvsl.{key}": changes[key] for key in changes}) == []


def test_a_file_of_labels_of_its_own_may_hold_others():
    changes = {"train.coarsetofine.label_encoder": "cache/runs/ezvsl"}
    other = {"train.coarsetofine.labels": "cache/labels/other.npz"}
    assert check_changed_params({**COARSETOFINE, **changes, **other}) == []


def test_a_run_may_stand_in_the_table_under_two_protocols():
    changes = {"models": ["ezvsl", "ezvsl_seed1"], "train.ezvsl_seed1.seed": 0}
    assert check_changed_params({**changes, "train.ezvsl_seed1.protocol": "ezvsl"}) == []


def test_a_method_that_compares_no_frame_with_its_sound_reads_any_sequences(monkeypatch):
    changes = {**AVOBJECT, "sequence.fps": 16.0, "sequence.num_frames": 3}
    with pytest.raises(ParameterError, match="fps is 16, but avobject"):
        check_changed_params(changes)
    monkeypatch.delattr("train.models.avobject.FPS")
    assert check_changed_params(changes) == []
