"""``refresh``: files of the user's own that DVC does not see."""

import shutil

import pytest

from earshot import tables
from earshot.errors import ParameterError
from pipeline.base.project import Project
from pipeline.base.user_files import find_stage_files, noted_user_files
from stages import sources
from tests.helpers.command_helpers import call

XML = "<a><u><bbox><i/><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bbox></u></a>"


@pytest.fixture
def project(tmp_path):
    """Make a checkout with a list and annotations of Flickr outside of it."""
    for name in ("lists", "xml"):
        (tmp_path / "home" / name).mkdir(parents=True)
    (tmp_path / "home" / "lists" / "flickr_test.csv").write_text("11111,0\n22222,0\n")
    (tmp_path / "home" / "lists" / "imagetoframe.json").write_text('{"11111": [31]}')
    (tmp_path / "home" / "ids.txt").write_text("11111\n")
    section = {
        "ids": str(tmp_path / "home" / "ids.txt"),
        "splits": ["flickr_test"],
        "lists_dir": str(tmp_path / "home" / "lists"),
        "annotations_dir": str(tmp_path / "home" / "xml"),
        "soundnet_url": None,
    }
    params = {"datasets": ["flickr"], "sources": {"flickr": section}}
    return Project(tmp_path / "checkout", params)


@pytest.mark.parametrize("name", ["birds.csv", "ids.txt", "a.mp4"])
def test_a_table_of_ones_own_is_read_again(tmp_path, capsys, name):
    home = tmp_path / "home"
    home.mkdir()
    (home / "birds.csv").write_text("id,path\na,a.mp4\nb,b.mp4\n")
    (home / "ids.txt").write_text("a\n")
    (home / "a.mp4").write_bytes(b"a video")
    section = {"kind": "table", "path": str(home / "birds.csv"), "ids": str(home / "ids.txt")}
    project = Project(tmp_path / "checkout", {"datasets": ["birds"], "sources": {"birds": section}})
    sources.main(project, "birds")
    assert "birds: 1 clips, 1 samples (left out: 1 by ids)" in capsys.readouterr().out
    assert call(project, "refresh") == 0
    assert project.clips_table_path("birds").exists()

    with (home / name).open("a") as file:
        file.write("\n")
    assert call(project, "refresh") == 0
    assert not project.clips_table_path("birds").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda home: (home / "lists" / "flickr_test.csv").write_text("11111,0\n33333,0\n"),
        lambda home: (home / "ids.txt").write_text("22222\n"),
        lambda home: (home / "xml" / "11111.xml").write_text(XML),
        lambda home: (home / "lists" / "imagetoframe.json").write_text('{"11111": [61]}'),
        lambda home: (home / "lists" / "imagetoframe.json").rename(home / "lists" / "old.json"),
    ],
    ids=["list", "ids", "new annotations", "frames", "renamed"],
)
def test_lists_and_annotations_that_change_are_read_again(project, tmp_path, capsys, change):
    sources.main(project, "flickr")
    tables.write_table(project.downloads_table_path("flickr"), [], tables.DOWNLOADS)
    capsys.readouterr()
    assert call(project, "refresh") == 0
    assert project.clips_table_path("flickr").exists()
    assert capsys.readouterr().out == ""

    change(tmp_path / "home")
    assert call(project, "refresh") == 0
    assert not project.clips_table_path("flickr").exists()
    # Nothing is fetched again because of a list.
    assert project.downloads_table_path("flickr").exists()
    assert "flickr: its files changed since they were listed" in capsys.readouterr().out


def test_a_folder_that_is_not_mounted_changes_nothing(project, tmp_path, capsys):
    sources.main(project, "flickr")
    (tmp_path / "home").rename(tmp_path / "unplugged")
    assert call(project, "refresh") == 0
    assert project.clips_table_path("flickr").exists()
    assert "dataset flickr stays as it was listed" in capsys.readouterr().out


def test_tables_of_before_the_account_are_made_again(project, capsys):
    sources.main(project, "flickr")
    shutil.rmtree(project.root / "cache" / "user_files")
    call(project, "refresh")
    assert not project.clips_table_path("flickr").exists()


@pytest.fixture
def weights(tmp_path):
    """Make a project whose runs and detector have weights of the user's own."""
    names = ("released.pt", "start.pth", "teacher.pth", "labels.npz", "guide.pth", "detector.pth")
    for name in (*names, "x.npz"):
        (tmp_path / name).write_bytes(b"weights")
    params = {
        "datasets": [],
        "released": ["mine", "theirs"],
        "models": ["a", "b"],
        "weights": {
            "mine": {"method": "htf", "url": "released.pt"},
            "theirs": {"method": "htf", "url": "https://host/x.pt"},
        },
        "train": {
            "a": {"preset": "p", "labels": "labels.npz", "teacher_weights": "teacher.pth"},
            "b": {"init": "imagenet", "labels": "imagenet"},
        },
        "train_presets": {"p": {"init": str(tmp_path / "start.pth")}},
        "evaluate": {"object_guidance_weights": "guide.pth", "external": {"x": "x.npz"}},
        "detections": {"datasets": ["sample"], "detector": {"weights": "detector.pth"}},
    }
    return Project(tmp_path, params)


def test_weights_of_the_user_are_found(weights):
    root = weights.root
    assert find_stage_files(weights) == {
        "weights@mine": [root / "released.pt"],
        "train@a": [root / "start.pth", root / "teacher.pth", root / "labels.npz"],
        "evaluate": [root / "guide.pth", root / "x.npz"],
        "detections@sample": [root / "detector.pth"],
    }
    runs = {
        # Runs of this checkout are in `cache/inputs`; a training writes such labels itself.
        "a": {"init": "cache/runs/b", "labels": "own.npz", "label_encoder": "cache/runs/b"},
        "b": {"sound_encoder": "cache/runs/imported", "frame_encoder": "imagenet"},
    }
    found = find_stage_files(Project(root, {"models": ["a", "b"], "train": runs}))
    assert found == {"train@b": [root / "cache/runs/imported"]}
    assert find_stage_files(Project(root, {"weights": 3, "released": ["x"]})) == {}


def test_weights_that_change_are_read_again(weights, capsys):
    outputs = {
        "weights@mine": weights.run_dir("mine") / "run.json",
        "train@a": weights.run_dir("a") / "run.json",
        "evaluate": weights.reports_dir / "summary.json",
        "detections@sample": weights.manifests_dir("sample") / "detections.json",
    }
    for stage, path in outputs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with noted_user_files(weights, stage):
            path.write_text("{}")
    call(weights, "refresh")
    assert capsys.readouterr().out == ""

    for number, (stage, files) in enumerate(find_stage_files(weights).items()):
        files[-1].write_bytes(b"other weights")
        assert call(weights, "refresh") == 0
        assert f"{stage}: a file of yours changed" in capsys.readouterr().out
        assert [path.exists() for path in outputs.values()] == [
            position > number for position in range(len(outputs))
        ]


def test_a_mistyped_dataset_is_refused(project):
    with pytest.raises(ParameterError, match="--dataset is 'flikr', expected one of"):
        call(project, "refresh", "--dataset", "flikr")
