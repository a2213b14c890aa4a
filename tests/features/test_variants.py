"""Variants of features: folders of their own, one store, nothing computed twice."""

import shutil

import pytest
import yaml

import stages.feature
from earshot.errors import ParameterError
from earshot.files import sha256_of
from earshot.reader import FeatureReader
from earshot.tables import DOWNLOADS, SAMPLES, write_table
from pipeline.__main__ import main as pipeline_main
from pipeline.base.project import Project
from pipeline.features.configure import check_variants, configure_feature, require_datasets
from pipeline.features.registry import find_base, find_companions, is_variant
from pipeline.shards.account import account_path
from tests.helpers.downloads.download_helpers import encode


@pytest.fixture
def project(tmp_path):
    """Three clips of two seconds, none of whose features is computed yet."""
    params = {
        "datasets": ["tiny"],
        "frames": {"short_side": 32},
        "flow": {},
        "spectrogram": {},
        "variants": ["spectrograms-htf", "spectrograms-same", "frames-small"],
        "feature_variants": {
            "spectrograms-htf": {"preset": "htf"},
            "spectrograms-same": {"preset": "257x300", "n_fft": 512},
            "frames-small": {"short_side": 16},
        },
        "cluster": {"workers": 0},
        "cache": {},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    project = Project.load(tmp_path)
    project.clips_dir("tiny").mkdir(parents=True)

    samples, downloads = [], []
    for number in range(3):
        path = project.clips_dir("tiny") / f"clip{number}.mp4"
        encode(
            path,
            *("-f", "lavfi", "-i", f"testsrc2=s=96x64:r=8:d={2 + number / 10}"),
            *("-f", "lavfi", "-i", f"sine=d=2:f={300 * (number + 1)}"),
            *("-c:v", "libx264", "-c:a", "aac"),
        )
        row = {"clip_id": path.stem, "status": "ok", "path": path.name, "sha256": sha256_of(path)}
        downloads.append(row)
        samples.append({"sample_id": f"s{number}", "clip_id": path.stem, "time_seconds": 1.0})
    write_table(project.samples_table_path("tiny"), samples, SAMPLES)
    write_table(project.downloads_table_path("tiny"), downloads, DOWNLOADS)
    return project


def build(project, name, capsys) -> str:
    """Run the stage of a feature or variant; return the line that it prints."""
    stages.feature.main(project, name, "tiny")
    return capsys.readouterr().out


def test_a_variant_stands_beside_its_feature_and_computes_what_is_new(project, capsys):
    assert "tiny: spectrograms: 3 samples, 3 ok" in build(project, "spectrograms", capsys)
    before = sha256_of(project.feature_dir("tiny", "spectrograms") / "index.parquet")
    assert "tiny: spectrograms-htf: 3 samples, 3 ok" in build(project, "spectrograms-htf", capsys)

    # Equal settings have equal keys, so nothing is computed.
    words = build(project, "spectrograms-same", capsys)
    assert "0 computed, 3 from the cache" in words
    arrays = {
        name: FeatureReader(project.feature_dir("tiny", name)).read("s0")
        for name in ("spectrograms", "spectrograms-htf", "spectrograms-same")
    }
    assert arrays["spectrograms"].shape == (257, 300)
    assert arrays["spectrograms-htf"].shape == (257, 276)  # HTF's own width (PROTOCOLS.md)
    assert (arrays["spectrograms"] == arrays["spectrograms-same"]).all()

    # One store, and an account for each; the feature's own files are as they were.
    assert [path.name for path in (project.storage_dir / "tiny" / "store").iterdir()] == [
        "spectrograms"
    ]
    assert account_path(project, "tiny", "spectrograms-htf").exists()
    assert sha256_of(project.feature_dir("tiny", "spectrograms") / "index.parquet") == before


def test_a_changed_variant_leaves_the_others_as_they_are(project, capsys):
    build(project, "spectrograms", capsys)
    build(project, "spectrograms-htf", capsys)
    before = account_path(project, "tiny", "spectrograms").read_text()
    project.params["feature_variants"]["spectrograms-htf"] = {"preset": "ezvsl"}
    assert "3 computed" in build(project, "spectrograms-htf", capsys)
    assert account_path(project, "tiny", "spectrograms").read_text() == before
    assert "0 computed" in build(project, "spectrograms", capsys)


def test_prune_keeps_what_a_variant_uses(project, capsys):
    for name in ("spectrograms", "spectrograms-htf"):
        build(project, name, capsys)
    folder = project.feature_dir("tiny", "spectrograms-htf")
    array = FeatureReader(folder).read("s1")

    assert pipeline_main(["--root", str(project.root), "prune"]) == 0
    assert "tiny/spectrograms: 0 shards removed (0.0 MB), 2 in use" in capsys.readouterr().out

    # The store alone can bring the folder back.
    shutil.rmtree(folder)
    assert "0 computed" in build(project, "spectrograms-htf", capsys)
    assert (FeatureReader(folder).read("s1") == array).all()


def test_commands_select_a_variant_by_its_name(project, capsys):
    build(project, "frames-small", capsys)
    root = ["--root", str(project.root)]
    assert pipeline_main([*root, "verify", "--feature", "frames-small"]) == 0
    assert "tiny/frames-small: 3 samples, whole" in capsys.readouterr().out
    shard = next(project.feature_dir("tiny", "frames-small").glob("*.h5"))
    shard.chmod(0o644)
    shard.write_bytes(shard.read_bytes()[:-100])
    assert pipeline_main([*root, "repair"]) == 0
    assert "1 shards restored byte for byte" in capsys.readouterr().out
    assert pipeline_main([*root, "verify", "--feature", "frames-smal"]) == 2
    assert "--feature frames-smal: not known, did you mean frames-small?" in capsys.readouterr().err


def test_names_say_the_feature():
    assert (find_base("flow-jpeg8"), find_base("flow")) == ("flow", "flow")
    assert is_variant("flow-jpeg8") and not is_variant("flow") and not is_variant("flow-")
    # A feature of the user's own.
    assert is_variant("clip-b32") and find_base("clip-b32") == "clip"
    assert not is_variant("-b32")
    assert find_companions("frames-small") == ()


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("variants", ["spectrograms-hft"], "'spectrograms-hft', did you mean spectrograms-htf?"),
        ("variants", ["spectrograms"], "variants has 'spectrograms', did you mean"),
        ("variants", "spectrograms-htf", "expected a list of names"),
        ("feature_variants", {"spectrogram-lvs": {}}, "did you mean spectrograms.; expected"),
        ("feature_variants", {"spectrograms": {}}, "'-' and a name of yours"),
        ("feature_variants", {"detections-x": {}}, "has 'detections-x'"),
        ("feature_variants", {"flow-x": {"fps": 1000}}, "feature_variants.flow-x: fps is 1000"),
        ("feature_variants", {"flow-x": {"fsp": 8}}, "flow-x.fsp, did you mean fps?"),
        ("feature_variants", ["flow-x"], "expected a mapping"),
    ],
)
def test_a_wrong_variant_is_one_sentence(project, section, value, message):
    project.params[section] = value
    with pytest.raises(ParameterError, match=message):
        check_variants(project)


def test_a_variant_that_is_not_computed_says_what_to_add(project):
    project.params["variants"] = []
    with pytest.raises(ParameterError, match=r"reads frames-small, .*; add frames-small to v"):
        require_datasets(project, "tiny", ["frames-small"], reader="run x")
    assert configure_feature(project, "frames-small").parameters.short_side == 16
