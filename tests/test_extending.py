"""Apply the blocks of docs/extending.md, word by word, to a copy of the checkout, and run it."""

import re
from pathlib import Path

import pytest
import yaml

from earshot.reader import FeatureReader
from earshot.tables import DOWNLOADS, SAMPLES, read_table
from tests.helpers.checkouts import make_checkout, run
from tests.helpers.media.clip_factory import make_clip
from tests.helpers.paths import ROOT

_BLOCK = re.compile(
    r"^`([\w./]+)`(?:, after `([^`]+)`)?\n\n```(python|yaml)\n(.*?)```$", re.M | re.S
)
_MOST_LINES = 20  # of code in one addition
_NUM_CLIPS = 4
_HEADINGS = ("A dataset", "A model", "A feature", "A protocol", "A reason")


def _read_blocks(heading: str) -> list[tuple[str, str | None, str, str]]:
    """Return (file, line before it, language, text) of each block of a section."""
    page = (ROOT / "docs" / "extending.md").read_text()
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = _BLOCK.findall(section)
    assert blocks, f"docs/extending.md has no block below {heading!r}"
    return blocks


def _merge(old: dict, new: dict) -> dict:
    """Merge nested mappings; other values are replaced."""
    merged = dict(old)
    for key, value in new.items():
        is_nested = isinstance(value, dict) and isinstance(old.get(key), dict)
        merged[key] = _merge(old[key], value) if is_nested else value
    return merged


def _apply(checkout: Path, heading: str) -> None:
    """Do what a section of the page says."""
    for name, anchor, language, text in _read_blocks(heading):
        path = checkout / name
        if language == "yaml":
            merged = _merge(yaml.safe_load(path.read_text()), yaml.safe_load(text))
            path.write_text(yaml.safe_dump(merged, sort_keys=False))
        elif anchor:
            before, found, after = path.read_text().partition(f"\n{anchor}")
            assert found, f"{name} has no line {anchor!r}"
            rest_of_line, _, after = after.partition("\n")
            path.write_text(f"{before}{found}{rest_of_line}\n{text}{after}")
        else:
            assert not path.exists(), f"{name} exists already"
            path.write_text(text)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout with all five additions and a folder of four videos."""
    folder = make_checkout(tmp_path_factory.mktemp("extending") / "checkout")
    for heading in _HEADINGS:
        _apply(folder, heading)
    for number in range(_NUM_CLIPS):
        (folder / "dots").mkdir(exist_ok=True)
        make_clip(folder / "dots" / f"clip{number}.mp4", seconds=1 + number / 4)
    run(folder, "python", "-m", "stages.sources", "dots")
    run(folder, "python", "-m", "stages.download", "dots")
    return folder


def test_a_dataset_has_its_tables_and_clips(checkout):
    samples = read_table(checkout / "manifests" / "dots" / "samples.parquet", SAMPLES)
    downloads = read_table(checkout / "manifests" / "dots" / "downloads.parquet", DOWNLOADS)
    assert samples["sample_id"].to_pylist() == [f"clip{number}" for number in range(_NUM_CLIPS)]
    assert downloads["status"].to_pylist() == ["ok"] * _NUM_CLIPS


def test_a_feature_is_cached_and_a_model_is_trained(checkout):
    for feature in ("loudness", "spectrograms", "frames"):
        output = run(checkout, "python", "-m", "stages.feature", feature, "dots")
        assert f"{feature}: {_NUM_CLIPS} samples, {_NUM_CLIPS} ok" in output
    reader = FeatureReader(checkout / "cache" / "dots" / "loudness")
    assert all(0 < reader.read(sample_id).item() < 1 for sample_id in reader.sample_ids)

    output = run(checkout, "python", "-m", "stages.train", "dot_product")
    assert f"dot_product: 1 epochs on {_NUM_CLIPS} samples" in output
    assert (checkout / "cache" / "runs" / "dot_product" / "model.ckpt").exists()


def test_a_reason_is_classified_and_known_to_commands(checkout):
    module = "pipeline.downloads.account.reasons"
    code = f"from {module} import classify; print(classify('only for sponsors'))"
    assert run(checkout, "python", "-c", code).strip().endswith("sponsors_only")
    run(checkout, "python", "-m", "pipeline", "missing", "--reason", "sponsors_only")


def test_a_protocol_scores(checkout):
    code = (
        "import numpy, earshot; maps = {'a': numpy.array([[1, 0], [1, 0.0]])};"
        "print(earshot.score(maps, {'a': [[0, 0, 0.5, 1]]}, protocol='upper_half')['mean_ciou'])"
    )
    assert float(run(checkout, "python", "-c", code)) == 1
    params = yaml.safe_load((checkout / "params.yaml").read_text())
    assert params["evaluate"]["protocols"] == ["earshot", "upper_half"]


def test_the_graph_knows_the_new_stages(checkout):
    stages = run(checkout, "dvc", "stage", "list", "--name-only").split()
    assert {"sources@dots", "loudness@dots", "train@dot_product"} <= set(stages)


@pytest.mark.parametrize("heading", _HEADINGS)
def test_an_addition_is_short(heading):
    code = [
        line
        for _, _, language, text in _read_blocks(heading)
        if language == "python"
        for line in text.splitlines()
        if line.strip() and not line.startswith(("import ", "from ", '"""'))
    ]
    assert 0 < len(code) < _MOST_LINES, f"{heading}: {len(code)} lines"
