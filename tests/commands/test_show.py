"""The command `show`: the picture of a sample, its colours, and what is printed."""

import cv2
import numpy as np
import pytest

from earshot import tables
from earshot.errors import DataError
from pipeline.__main__ import main
from pipeline.features import pictures
from pipeline.features.sheets import wrap_text
from pipeline.lists.masks import encode_mask
from tests.helpers.scoring.report_examples import write_project

STRANGE_IDS = ["-aBc_000010", "--help", "Ünïcode 漢字", "a/b\\c:d", "<b>&", "s00005"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("show"), num_samples=6, ids=STRANGE_IDS)


@pytest.fixture
def show(project, capsys):
    """Run `show` with words; gives exit code, stdout and stderr."""

    def run(*words):
        code = main(["--root", str(project.root), "show", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def read(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize(
    "words", [("--", "-aBc_000010"), ("--sample=-aBc_000010",), ("--", "--help"), ("Ünïcode 漢字",)]
)
def test_any_id_can_be_shown(show, tmp_path, words):
    path = tmp_path / "out.png"
    code, out, err = show("--dataset", "sample", "--output", str(path), *words)
    assert (code, err) == (0, "")
    assert "splits: test" in out
    assert f"picture: {path}" in out
    picture = read(path)
    assert picture.shape[0] > 400
    assert picture.shape[1] > 1200


def test_an_id_before_a_double_dash_and_options_after_it_still_work(project, tmp_path):
    path = tmp_path / "out.webp"
    assert main(["--root", str(project.root), "show", "s00005", "--output", str(path)]) == 0
    assert path.stat().st_size > 1000


def test_default_name_of_the_picture_is_safe(show, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert show("a/b\\c:d")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["show_a_b_c_d.png"]


def test_a_folder_gets_the_picture_under_its_default_name(show, tmp_path):
    code, printed, _ = show("s00005", "--output", str(tmp_path))
    assert code == 0 and printed.endswith(f"picture: {tmp_path}/show_s00005.png\n")
    assert (tmp_path / "show_s00005.png").exists()


def test_boxes_and_maps_are_on_the_picture(show, project, tmp_path):
    plain, mapped = tmp_path / "plain.png", tmp_path / "mapped.png"
    assert show("s00005", "--output", str(plain))[0] == 0
    assert show("s00005", "--map", "all", "--output", str(mapped))[0] == 0
    assert (read(plain) == pictures.BOX_COLOUR).all(axis=-1).sum() > 200
    assert read(mapped).shape[0] > read(plain).shape[0] + 500  # six maps are two more rows


def test_a_mask_is_on_the_picture_where_there_are_no_boxes(tmp_path, capsys):
    project = write_project(tmp_path, num_samples=2)
    path = project.samples_table_path("sample")
    rows = tables.read_table(path, tables.SAMPLES).to_pylist()
    rows[0] |= {
        "boxes": [],
        "box_annotators": [],
        "attributes": [("mask", encode_mask(np.indices((224, 224))[0] < 56))],
    }
    tables.write_table(path, rows, tables.SAMPLES)
    words = ["--root", str(tmp_path), "show", rows[0]["sample_id"]]
    assert main([*words, "--output", str(tmp_path / "mask.png")]) == 0
    assert "mask: 25.0% of the frame\n" in capsys.readouterr().out
    assert (read(tmp_path / "mask.png") == pictures.BOX_COLOUR).all(axis=-1).sum() > 200


def test_a_sample_without_features_shows_its_reasons(show, tmp_path):
    code, out, _ = show("gone_1", "--output", str(tmp_path / "gone.png"))
    assert code == 0
    assert "download: missing, removed: Video unavailable. <b>removed</b> by the uploader" in out
    assert "Frame: none: removed" in out
    assert (tmp_path / "gone.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("s0005",), "no sample 's0005' in sample; near matches: s00005"),
        # A part of the id: a file of a folder is known by its own name.
        (("videos/0001.mp4",), "no sample 'videos/0001.mp4' in sample; near matches: -aBc_000010"),
        (
            ("zzzzzzzz",),
            "no sample 'zzzzzzzz' in sample; there are 8 samples, for example -aBc_000010",
        ),
        (
            ("s00005", "--dataset", "nope"),
            "manifests/nope/samples.parquet is not there; there are sample",
        ),
        (
            ("s00005", "--map", "nope"),
            "cache/maps/sample/nope.npz: not found; maps of sample are there from centre",
        ),
        (
            ("s00005", "--output", f"{__file__}/x.png"),
            "x.png: no file can be made there: File exists",
        ),
        (
            ("s00005", "--output", "x.pdf"),
            "--output x.pdf: ends in '.pdf', expected .png, .jpg or .webp",
        ),
        ((), "0 sample ids given, expected one"),
        (("a", "b"), "2 sample ids given, expected one"),
    ],
)
def test_mistakes_are_one_sentence(show, words, message):
    code, out, err = show(*words)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_clip_stands_for_its_only_sample(show, tmp_path):
    code, out, _ = show("clip_s00005", "--output", str(tmp_path / "x.png"))
    assert code == 0
    assert "clip clip_s00005" in out


def test_a_clip_of_many_samples_names_them(tmp_path, capsys):
    project = write_project(tmp_path, num_samples=2, has_maps=False)
    path = project.samples_table_path("sample")
    rows = tables.read_table(path, tables.SAMPLES).to_pylist()
    rows[1]["clip_id"] = rows[0]["clip_id"]
    tables.write_table(path, rows, tables.SAMPLES)
    assert main(["--root", str(tmp_path), "show", rows[0]["clip_id"]]) == 2
    assert (
        "is a clip of sample with 2 samples, expected a sample: s00000, s00001"
        in capsys.readouterr().err
    )


def test_a_sample_of_a_dataset_that_is_not_chosen(tmp_path, capsys):
    project = write_project(tmp_path, num_samples=1, has_maps=False)
    project.manifests_dir("sample").rename(project.manifests_dir("birds"))
    assert main(["--root", str(tmp_path), "show", "s00000"]) == 2
    error = capsys.readouterr().err
    assert "no sample 's00000' in any dataset of params.yaml; " in error
    assert error.endswith("; --dataset can name birds, too\n")


def test_damaged_shard_is_said_on_the_panel(tmp_path, capsys):
    project = write_project(tmp_path, num_samples=2, has_maps=False)
    (shard,) = project.feature_dir("sample", "flow").glob("*.h5")
    shard.write_bytes(shard.read_bytes()[:1000])
    assert (
        main(["--root", str(tmp_path), "show", "s00000", "--output", str(tmp_path / "x.png")]) == 0
    )
    assert "not a whole shard" in capsys.readouterr().out


def test_an_index_of_another_version_is_said_on_the_panel(tmp_path, capsys):
    project = write_project(tmp_path, num_samples=2, has_maps=False)
    index = tables.Schema("index", 99, tables.INDEX.columns)
    path = project.feature_dir("sample", "flow") / "index.parquet"
    tables.write_table(path, tables.read_table(path, tables.INDEX), index)
    assert main(["--root", str(tmp_path), "show", "s00000", "--output", str(tmp_path)]) == 0
    assert "holds table index version 99" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["cut off", "empty", "a bit", "one array", "too few maps"])
def test_damaged_maps_are_one_sentence(tmp_path, capsys, damage):
    project = write_project(tmp_path, num_samples=2)
    path = project.maps_path("sample", "centre")
    content = path.read_bytes()
    if damage == "one array":
        np.save(tmp_path / "x.npy", np.zeros(3))
        (tmp_path / "x.npy").rename(path)
    elif damage == "too few maps":
        np.savez(path, sample_ids=["s00000", "s00001"], maps=np.zeros((1, 7, 7)))
    else:
        flipped = content[:200] + bytes([content[200] ^ 255]) + content[201:]
        path.write_bytes({"cut off": content[:300], "empty": b"", "a bit": flipped}[damage])
    words = ("show", "s00001", "--map", "centre", "--output", str(tmp_path))
    assert main(["--root", str(tmp_path), *words]) == 2
    assert "centre.npz: not an .npz with sample_ids and maps: " in capsys.readouterr().err


def test_a_map_without_a_number_says_so(tmp_path, capsys, recwarn):
    project = write_project(tmp_path, num_samples=2, has_maps=False)
    path = project.maps_path("sample", "centre")
    path.parent.mkdir(parents=True)
    np.savez(path, sample_ids=["s00000"], maps=np.full((1, 7, 7), np.nan))
    words = ("show", "s00000", "--map", "centre", "--output", str(tmp_path))
    assert main(["--root", str(tmp_path), *words]) == 0
    assert not recwarn.list


@pytest.mark.parametrize(
    ("direction", "colour"),
    [
        ((2, 0), (255, 0, 0)),
        ((0, 2), (128, 255, 0)),
        ((-2, 0), (0, 255, 255)),
        ((0, -2), (128, 0, 255)),
    ],
)
def test_flow_colours_are_directions(direction, colour):
    flow = np.zeros((2, 8, 8), np.float32)
    flow[:, 2:6, 2:6] = np.reshape(direction, (2, 1, 1))
    picture, scale = pictures.colour_flow(flow)
    assert scale == pytest.approx(2)
    assert picture[0, 0].tolist() == [255, 255, 255]
    assert np.abs(picture[4, 4].astype(int) - colour).max() <= 1
    half, _ = pictures.colour_flow(flow, full_scale=4.0)
    assert np.abs(half[4, 4].astype(int) - (np.array(colour) + 255) / 2).max() <= 1


def test_still_flow_is_white_and_noise_is_not_raised():
    noise = np.random.default_rng(0).normal(0, 0.01, (2, 20, 20))
    picture, scale = pictures.colour_flow(noise)
    assert scale == 0.5
    assert picture.min() > 230
    assert (pictures.colour_flow(np.full((2, 4, 4), np.nan))[0] == 255).all()


def test_a_tone_is_a_line_at_its_height():
    spectrogram = np.full((257, 300), -10.0)
    spectrogram[50] = 2.0
    brightness = pictures.colour_spectrogram(spectrogram).sum(axis=(1, 2), dtype=int)
    assert brightness.argmax() == 256 - 50
    assert len(np.unique(pictures.colour_spectrogram(np.zeros((5, 6))).reshape(-1, 3), axis=0)) == 1


def test_boxes_are_where_they_should_be():
    drawn = pictures.draw_boxes(
        np.zeros((101, 201, 3), np.uint8), [[0.25, 0.2, 0.75, 0.8], [np.nan, 0, 1, 1]]
    )
    rows, columns = np.nonzero((drawn == pictures.BOX_COLOUR).all(axis=-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 80, 50, 150)
    outside = pictures.draw_boxes(np.zeros((50, 50, 3), np.uint8), [[-1, -1, 2, 2]])
    assert (outside[0, :] == pictures.BOX_COLOUR).all()


def test_maps_are_normalized_and_strange_ones_survive():
    assert pictures.normalize_map(np.array([[1, 3], [2, 5]])).tolist() == [[0, 0.5], [0.25, 1]]
    assert not pictures.normalize_map(np.full((3, 3), 7.0)).any()
    assert pictures.normalize_map(np.array([[np.nan, 1.0, 2.0]])).tolist() == [[0, 0, 1]]
    assert not pictures.normalize_map(np.full((2, 2), np.nan)).any()
    with pytest.raises(DataError, match=r"shape \(2,\), expected \(height, width\)"):
        pictures.normalize_map(np.zeros(2))


def test_text_is_wrapped_and_never_wider_than_the_sheet():
    lines = wrap_text("word " * 60 + "x" * 300, size=13, max_width=300)
    assert len(lines) > 5
    assert "".join(lines).replace(" ", "") == "word" * 60 + "x" * 300
    assert wrap_text("", size=13, max_width=300) == [""]
    assert wrap_text("a\nb\x00c", size=13, max_width=300) == ["a b c"]
