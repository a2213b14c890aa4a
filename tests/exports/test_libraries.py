"""Exports open with the libraries that they are made for, and with those alone."""

import importlib.util
import io
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from scipy.io import wavfile

from pipeline.exports.export import export_dataset
from pipeline.exports.outputs.huggingface import nest_arrays
from pipeline.exports.parameters import ExportParameters
from tests.helpers.cache.export_project import (
    DATASET,
    DOTTED,
    FIRST,
    GONE,
    NEGATIVE,
    SECOND,
    import_into,
    make_media,
    write_features,
    write_lists,
)

FEATURES = ("frames", "flow", "spectrograms", "waveforms", "audio")
FEATURE_OF = {"frame": "frames", "flow": "flow", "spectrogram": "spectrograms"}
FORMATS = ("webdataset", "huggingface", "files")


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Return the folders of one export of each format, and the cached arrays."""
    root = tmp_path_factory.mktemp("exports")
    project = write_lists(root / "checkout")
    import_into(project, make_media(root / "media"))
    arrays = write_features(project)
    for format_name in FORMATS:
        parameters = ExportParameters(format=format_name, features=FEATURES, pictures="png")
        export_dataset(project, DATASET, parameters, root / format_name, is_quiet=True)
    return {name: root / name for name in FORMATS}, arrays


_READ_SHARDS = """
import json, sys
sys.modules["torch"] = None  # WebDataset does without it, and it takes seconds to import
import webdataset

assert not {"pipeline", "earshot"} & set(sys.modules)
dataset = webdataset.WebDataset(sys.argv[1:], shardshuffle=False).decode("rgb8")
rows = {}
for sample in dataset:
    rows[sample["json"]["sample_id"]] = {
        "json": sample["json"],
        "frame": sample["frames.png"].tolist(),
        "flow": sample["flow.npy"].tolist(),
        "spectrogram": sample["spectrograms.npy"].tolist(),
        "waveform": sample["waveforms.wav"].hex(),
        "audio": sample["audio.wav"].hex(),
    }
json.dump(rows, sys.stdout)
"""


def run_elsewhere(folder, program, *words):
    """Run a program where nothing of Earshot can be imported; return what it printed as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"HF_HUB_OFFLINE": "1", "USE_TORCH": "0"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_webdataset_reads_the_shards(exports, tmp_path):
    if importlib.util.find_spec("webdataset") is None:
        pytest.skip("webdataset is not installed")
    folders, arrays = exports
    paths = sorted((folders["webdataset"] / "shards").iterdir())
    samples = run_elsewhere(tmp_path, _READ_SHARDS, *paths)
    assert set(samples) == {FIRST, SECOND, DOTTED, NEGATIVE}
    for sample_id, sample in samples.items():
        for name, feature in FEATURE_OF.items():
            found = np.asarray(sample[name], arrays[feature][sample_id].dtype)
            np.testing.assert_array_equal(found, arrays[feature][sample_id])
        _, waveform = wavfile.read(io.BytesIO(bytes.fromhex(sample["waveform"])))
        np.testing.assert_array_equal(waveform, arrays["waveforms"][sample_id])
        assert bytes.fromhex(sample["audio"])[:4] == b"RIFF"
    record = samples[SECOND]["json"]
    assert record["boxes"] == [[0.1, 0.2, 0.5, 0.75]]
    assert record["splits"] == ["vggss_test", "vggss_heard_test"]
    assert (record["label"], record["attributes"]) == ("dog, barking", {"night": "no"})
    assert record["feature_attributes"]["flow"] == {"native_height": 64, "native_width": 96}
    assert samples[NEGATIVE]["json"]["audio_clip_id"] == SECOND


_LOAD = """
import json, sys
import datasets

assert not {"pipeline", "earshot"} & set(sys.modules)
loaded = datasets.load_dataset(sys.argv[1], cache_dir=sys.argv[2])
result = {"splits": {name: list(part["sample_id"]) for name, part in loaded.items()}}
result["columns"] = {name: str(feature) for name, feature in loaded["train"].features.items()}
# Decoding sound needs torchcodec; the bytes are enough here.
plain = loaded["vggss_test"].cast_column("waveforms", datasets.Audio(decode=False))
plain = plain.cast_column("audio", datasets.Audio(decode=False))
rows = {}
for row in plain:
    wav = row["waveforms"]["bytes"]
    rows[row["sample_id"]] = {
        "frame": [list(row["frames"].size), row["frames"].tobytes().hex()],
        "flow": row["flow"], "boxes": row["boxes"], "label": row["label"],
        "native_height": row["flow_native_height"], "wav": wav.hex(),
        "attributes": row["attributes"],
    }
result["rows"] = rows
json.dump(result, sys.stdout)
"""


def test_hugging_face_reads_the_folder(exports, tmp_path):
    if importlib.util.find_spec("datasets") is None:
        pytest.skip("datasets is not installed")
    folders, arrays = exports
    result = run_elsewhere(tmp_path, _LOAD, folders["huggingface"], tmp_path / "cache")

    # A sample in two splits is in both, although it is stored once.
    assert result["splits"] == {
        "train": [FIRST],
        "vggss_heard_test": [SECOND],
        "vggss_test": [SECOND, DOTTED],
        "vggss_test_plus_silent": [NEGATIVE],
    }
    assert len(list((folders["huggingface"] / "data").iterdir())) == 4
    assert result["columns"]["frames"].startswith("Image(")
    assert result["columns"]["audio"].startswith("Audio(")
    assert result["columns"]["flow"] == "List(List(List(Value('float16'))))"
    for sample_id, row in result["rows"].items():
        (width, height), pixels = row["frame"]
        frame = np.frombuffer(bytes.fromhex(pixels), np.uint8).reshape(height, width, 3)
        np.testing.assert_array_equal(frame, arrays["frames"][sample_id])
        flow = np.asarray(row["flow"], np.float16)
        np.testing.assert_array_equal(flow, arrays["flow"][sample_id])
        _, waveform = wavfile.read(io.BytesIO(bytes.fromhex(row["wav"])))
        np.testing.assert_array_equal(waveform, arrays["waveforms"][sample_id])
        assert row["boxes"] == [[0.1, 0.2, 0.5, 0.75]]
        assert (row["label"], row["native_height"]) == ("dog, barking", 64)
        assert json.loads(row["attributes"]) == {"night": "no"}


@pytest.mark.parametrize("format_name", FORMATS)
def test_mlcroissant_accepts_the_metadata(exports, format_name):
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    folder = exports[0][format_name]
    dataset = mlcroissant.Dataset(jsonld=folder / "croissant.json")  # raises for what is wrong
    issues = dataset.metadata.issues
    assert (list(issues.errors), list(issues.warnings)) == ([], [])
    records = {row["samples/sample_id"].decode(): row for row in dataset.records("samples")}
    assert list(records) == [FIRST, SECOND, DOTTED, NEGATIVE, GONE]
    assert records[GONE]["samples/reason"] == b"frames: removed"
    assert "CC BY 4.0" in json.dumps(dataset.metadata.to_json()["license"])


def test_the_datasheet_says_what_is_missing(exports):
    text = (exports[0]["files"] / "DATASHEET.md").read_text()
    assert "| `train` | 2 | 1 | 50.0 % |" in text
    assert "| `frames: removed` | 1 |" in text
    assert "https://github.com/hche11/VGGSound" in text and "CC BY 4.0" in text
    assert "4 samples have boxes" in text
    assert "negatives" in text


def test_plain_files_hold_the_same_arrays(exports):
    folders, arrays = exports
    frame = cv2.imread(str(folders["files"] / "frames" / f"{FIRST}.png"))
    np.testing.assert_array_equal(frame[..., ::-1], arrays["frames"][FIRST])
    rate, sound = wavfile.read(folders["files"] / "waveforms" / f"{FIRST}.wav")
    assert rate == 16000
    np.testing.assert_array_equal(sound, arrays["waveforms"][FIRST])


@pytest.mark.parametrize(
    "shapes", [[()], [(3,), (1,)], [(2, 3, 4), (2, 1, 5)], [(0, 7), (2, 7)], [(4, 0)]]
)
def test_arrays_of_any_shape_become_nested_lists(shapes):
    arrays = [np.arange(np.prod(shape), dtype=np.float32).reshape(shape) for shape in shapes]
    column = nest_arrays(arrays)
    column.validate(full=True)
    assert column.to_pylist() == [array.tolist() for array in arrays]
