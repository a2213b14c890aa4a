"""What the report says of a run: published or ours, what is recalled, its weights and inputs."""

from eval.report.sections.run_identity import describe_identity

PARAMS = {
    "datasets": ["sample", "vggsound"],
    "train_presets": {"as_published": {"features": ["spectrograms-ezvsl"]}},
    "train": {
        "ezvsl_144k": {"method": "ezvsl", "preset": "as_published", "dataset": "vggsound"},
        "ezvsl_seed_1": {"preset": "ezvsl_144k", "seed": 1},
        "hardpos": {"method": "hardpos"},
    },
    "weights": {
        "semi": {"method": "attention10k"},
        "theirs": {"features": ["spectrograms-lvs"], "trained_on": "flickr/flickr_144k"},
    },
}


def describe(name: str, method: str, **run) -> dict[str, str]:
    return dict(describe_identity(name, {"method": method, **run}, PARAMS))


def test_a_published_method_with_its_variant_and_split():
    parameters = {"init": "imagenet", "train_split": "vggss_144k", "margin": 0.0}
    assert describe("ezvsl_144k", "ezvsl", selection="val", parameters=parameters) == {
        "method": "EZ-VSL",
        "form": "published",
        "ours, recalled or not known": "nothing",
        "weights": "trained here; first weights: those of ImageNet",
        "inputs": "frames, spectrograms-ezvsl; trained on vggsound/vggss_144k",
    }
    # A run that takes over another one reads the same.
    found = describe("ezvsl_seed_1", "ezvsl", selection="val", parameters=parameters)
    assert found["inputs"] == "frames, spectrograms-ezvsl; trained on vggsound/vggss_144k"
    # A margin makes it another method, whose formula is recalled.
    found = describe("marginnce", "ezvsl", parameters={"margin": -0.2})
    assert found["method"] == "MarginNCE"
    assert "recalled" in found["ours, recalled or not known"]


def test_a_reading_of_ours_says_what_it_began_with():
    parameters = {
        "init": "random",
        "frame_encoder": "imagenet",
        "sound_encoder": "cache/runs/lvs",
        "train_split": "train",
    }
    found = describe("hardpos", "hardpos", parameters=parameters)
    assert found["form"] == "our reading of the paper; no public code"
    assert found["weights"] == (
        "trained here; first weights: random ones; neighbours by frame: imagenet; "
        "neighbours by sound: cache/runs/lvs"
    )
    assert found["inputs"] == "frames, spectrograms; trained on sample/train"


def test_released_weights_say_where_they_are_from_and_what_they_saw():
    found = describe("semi", "attention10k", selection="released", source="gdrive:ID")
    assert found["weights"] == (
        "released by the authors, not trained here: gdrive:ID; trained with annotated boxes, so no "
        "unsupervised result"
    )
    assert found["inputs"] == "frames, waveforms; its training data are not known"
    found = describe("theirs", "lvs", selection="released", source="gdrive:ID")
    assert found["inputs"] == (
        "frames, spectrograms-lvs; trained on flickr/flickr_144k, as its authors say"
    )


def test_a_method_of_the_users_own_and_a_run_without_one():
    found = describe("mine", "dot_product", parameters={"init": "random"})
    assert found["form"] == "not described; a method of the user's own"
    assert "ours, recalled or not known" not in found
    assert describe_identity("old", {"num_epochs": 3}, PARAMS) == ()
