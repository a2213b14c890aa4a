"""Labels from clusters: matching ones for frames and sounds, made again only if they must be."""

import shutil

import numpy as np
import pytest
import torch

from earshot.errors import DataError, ParameterError
from eval.results.evaluate import EvaluationParameters
from tests.helpers.toy_project import make_toy_project
from tests.helpers.training.toy_runs import tiny
from train.experiment import train_run
from train.inference.entrants import collect_entrants
from train.models.registry import build_parameters, make_model
from train.neighbours import label_clusters
from train.neighbours.label_clusters import label_by_clusters, obtain_labels
from train.networks.category_labels import read_category_labels
from train.runs.run_folder import LABELS_NAME, MODEL_NAME, read_run, write_model

CPU = torch.device("cpu")
# A run whose labels are the clusters of the run `lvs`.
COARSE = {
    "method": "coarsetofine",
    "labels": "cache/labels/lvs.npz",
    "label_encoder": "cache/runs/lvs",
    "sound_seconds": 0.2,
}
FINE = {**COARSE, "stage": 2, "init": "cache/runs/coarse"}


def test_frames_and_sounds_of_one_kind_have_one_label():
    """Kinds are far apart. A frame and a sound of one kind match, though their vectors differ."""
    rng = np.random.default_rng(0)
    kinds = np.arange(60) % 3
    frames, sounds = (
        rng.normal(size=(3, 16))[kinds] + 0.05 * rng.normal(size=(60, 16)) for _ in range(2)
    )
    frames, sounds = (
        values / np.linalg.norm(values, axis=1, keepdims=True) for values in (frames, sounds)
    )
    # The last ten are not clustered. One of them has the sound of another kind.
    sounds[59] = sounds[0]
    by_frame, by_sound = label_by_clusters(frames, sounds, num_train=50, num_clusters=3)
    assert (by_frame.sum(1) == 1).all() and (by_sound.sum(1) == 1).all()
    np.testing.assert_array_equal(by_frame[:59], by_sound[:59])
    assert not np.array_equal(by_frame[59], by_sound[59])
    for kind in range(3):
        assert len(np.unique(by_frame[kinds == kind], axis=0)) == 1
    assert len(np.unique(by_frame, axis=0)) == 3
    again = label_by_clusters(frames, sounds, num_train=50, num_clusters=3)
    np.testing.assert_array_equal(again[0], by_frame)


def test_labels_are_made_once_for_equal_weights_and_samples(toy, tmp_path, monkeypatch):
    _, features_dirs, ids, _ = toy
    path = tmp_path / "labels.npz"

    def write_run(seed: int) -> None:
        parameters = tiny("lvs", seed=seed)
        write_model(tmp_path / "run", make_model(parameters), parameters)

    def obtain(train_ids=ids[:40]) -> np.ndarray:
        options = {"weights_dir": None, "device": CPU}
        obtain_labels(path, str(tmp_path / "run"), train_ids, ids[40:], features_dirs, **options)
        return read_category_labels(path, ids[40:])

    write_run(0)
    first = obtain()
    assert first.shape == (8, 14)
    assert (first[:, :7].sum(1) == 1).all() and (first[:, 7:].sum(1) == 1).all()

    with monkeypatch.context() as patch:
        patch.setattr(label_clusters, "label_by_clusters", None)
        np.testing.assert_array_equal(obtain(), first)
    made = path.stat().st_mtime_ns
    write_run(1)
    obtain()
    assert path.stat().st_mtime_ns != made
    made = path.stat().st_mtime_ns
    obtain(ids[:39])
    assert path.stat().st_mtime_ns != made
    # Who reads labels of a sample that was not there is told.
    with pytest.raises(DataError, match="lacks 1 of 1 samples"):
        read_category_labels(path, ids[39:40])
    with pytest.raises(ParameterError, match="6 training samples make no 7 clusters"):
        obtain(ids[:6])


def test_a_run_makes_its_labels_from_a_run_that_is_trained_first(tmp_path, monkeypatch, capsys):
    """Two stages: the encoder first, then labels, then both stages, each once."""
    monkeypatch.chdir(tmp_path)
    runs = {
        "fine": {**FINE, "learning_rate": 1e-4},
        "coarse": COARSE,
        "lvs": {"method": "lvs"},
    }
    project = make_toy_project(tmp_path, runs)
    assert "1 epochs on 16 samples" in train_run(project, "fine")
    said = capsys.readouterr().err
    for run in ("lvs", "coarse"):
        assert f"fine: begins with the weights of {run}, which comes first" in said
        assert (project.run_dir(run) / MODEL_NAME).is_file()
    assert read_run(project.run_dir("fine"))["status"] == "ok"
    labels = (tmp_path / "cache" / "labels" / "lvs.npz").read_bytes()

    assert "brought back" in train_run(project, "fine")
    assert "comes first" not in capsys.readouterr().err
    path = tmp_path / "cache" / "labels" / "lvs.npz"
    assert path.read_bytes() == labels

    # A machine that has the runs alone evaluates them without the labels.
    path.unlink()
    project.params["detections"] = {"datasets": []}
    entrants = collect_entrants(project, EvaluationParameters(baselines=()))
    assert {"coarse_untrained", "fine_untrained"} <= {entrant.name for entrant in entrants}

    # They are made again with the same bytes, and other labels train other weights.
    for run in ("coarse", "fine"):
        (project.run_dir(run) / LABELS_NAME).unlink()
    assert "brought back" in train_run(project, "coarse")
    assert path.read_bytes() == labels
    content = dict(np.load(path))
    np.savez(path, **{**content, "sound": content["sound"][::-1]})
    assert "1 epochs on 16 samples" in train_run(project, "coarse")


def test_labels_travel_with_the_runs_that_were_trained_with_them(tmp_path, monkeypatch, capsys):
    """What DVC pulls are the tables, the features and the folders of the runs."""
    monkeypatch.chdir(tmp_path)
    project = make_toy_project(tmp_path, {"coarse": COARSE, "lvs": {"method": "lvs"}})
    train_run(project, "coarse")
    labels = (tmp_path / "cache" / "labels" / "lvs.npz").read_bytes()
    assert (project.run_dir("coarse") / LABELS_NAME).read_bytes() == labels
    for name in ("labels", "training"):
        shutil.rmtree(tmp_path / "cache" / name)

    # On another machine k-means may find other clusters, which have other numbers.
    monkeypatch.setattr(label_clusters, "label_by_clusters", None)
    project.params["train"]["fine"] = {**project.params["train"]["coarse"], **FINE}
    capsys.readouterr()
    assert "1 epochs on 16 samples" in train_run(project, "fine")
    assert "comes first" not in capsys.readouterr().err
    for path in (tmp_path / "cache/labels/lvs.npz", project.run_dir("fine") / LABELS_NAME):
        assert path.read_bytes() == labels

    # A damaged copy is none, and a finished run that is brought back has its labels again.
    (project.run_dir("coarse") / LABELS_NAME).write_bytes(labels[:100])
    (tmp_path / "cache/labels/lvs.npz").unlink()
    assert "brought back" in train_run(project, "fine")
    assert (tmp_path / "cache/labels/lvs.npz").read_bytes() == labels


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_a_file_that_no_training_wrote_is_not_replaced(toy, tmp_path, content):
    _, features_dirs, ids, _ = toy
    parameters = tiny("lvs")
    write_model(tmp_path / "run", make_model(parameters), parameters)
    path = tmp_path / "labels.npz"
    if content is None:  # labels of the user's own
        np.savez(path, sample_ids=np.array(ids))
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"labels\.npz: not written by a training, so the clusters"):
        obtain_labels(
            path,
            str(tmp_path / "run"),
            ids[:40],
            ids[40:],
            features_dirs,
            weights_dir=None,
            device=CPU,
        )
    assert path.read_bytes() == before


def test_clusters_need_a_file_for_the_labels():
    with pytest.raises(ParameterError, match=r"label_encoder \(cache/runs/lvs\) needs labels"):
        build_parameters({"method": "coarsetofine", "label_encoder": "cache/runs/lvs"}, "test")
