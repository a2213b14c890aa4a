"""``browse``: a page of samples before anything is trained."""

import json
import re

import pytest

from earshot.tables import SAMPLES, write_table
from pipeline.__main__ import main
from tests.helpers.scoring.report_examples import write_project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("browse"), num_samples=8, has_maps=False)


def read_cards(path):
    text = path.read_text()
    found = re.search(r'id="gallery-data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1])["samples"]


def browse(project, tmp_path, *options):
    path = tmp_path / "page.html"
    code = main(["--root", str(project.root), "browse", "--output", str(path), *options])
    return code, path


def test_a_page_has_random_samples_with_sound(project, tmp_path, capsys):
    code, path = browse(project, tmp_path, "--random", "3", "--seed", "1")
    assert code == 0
    assert "3 samples of sample" in capsys.readouterr().out
    cards = read_cards(path)
    assert len(cards) == 3
    assert all(card["frame"] and card["maps"] == {} and card["scores"] == {} for card in cards)
    assert any(card.get("sound") for card in cards)

    # The same seed gives the same page, another seed other samples.
    first = path.read_bytes()
    browse(project, tmp_path, "--random", "3", "--seed", "1")
    assert path.read_bytes() == first
    drawn = set()
    for seed in range(4):
        browse(project, tmp_path, "--random", "3", "--seed", str(seed))
        drawn.add(tuple(card["id"] for card in read_cards(path)))
    assert len(drawn) > 1


def test_a_folder_gets_the_page_under_its_default_name(project, tmp_path, capsys):
    words = ["--root", str(project.root), "browse", "--random", "1", "--output", str(tmp_path)]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/browse_sample_all.html: 1 samples")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "tset"), "--split is 'tset', which no sample of sample has, did you mean"),
        (("--random", "0"), "--random is 0, expected 1 to 500"),
        (("--dataset", "flickr"), "--dataset is 'flickr', expected one of sample"),
    ],
)
def test_wrong_options_are_one_sentence(project, tmp_path, capsys, options, message):
    code, path = browse(project, tmp_path, *options)
    assert code == 2
    assert message in capsys.readouterr().err
    assert not path.exists()


def test_a_dataset_without_samples_is_one_sentence(tmp_path, capsys):
    project = write_project(tmp_path, num_samples=1, has_maps=False)
    write_table(project.samples_table_path("sample"), [], SAMPLES)
    assert browse(project, tmp_path)[0] == 2
    assert "sample: there are no samples, so there is nothing to show" in capsys.readouterr().err
