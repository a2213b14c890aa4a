"""``use``: recipes write params.yaml, and every recipe is right."""

import functools
import shutil

import pytest
import yaml

from eval.published.comparability import PUBLISHED
from eval.published.test_sets import find_test_sets
from pipeline.__main__ import main
from pipeline.audit.leakage import split_members
from pipeline.base.project import Project
from pipeline.commands.use import list_recipes, read_recipe
from pipeline.datasets import flickr, vggsound
from pipeline.datasets.dataset import load
from pipeline.features.configure import configure_feature
from stages.check import check_params
from tests.helpers.paths import ROOT, shared_path
from train.runs.settings import read_run_data, read_run_parameters

RECIPES = list_recipes(ROOT)


@pytest.fixture
def checkout(tmp_path):
    return copy_parameters(tmp_path)


def copy_parameters(folder):
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    return folder


@pytest.fixture(scope="module")
def project_of(tmp_path_factory):
    """Return a function: the project of a checkout that uses a recipe, made once for all tests."""

    @functools.cache
    def project_of(name) -> Project:
        folder = copy_parameters(tmp_path_factory.mktemp("used"))
        assert use(folder, name) == 0
        return Project.load(folder)

    return project_of


def use(checkout, *words) -> int:
    return main(["--root", str(checkout), "use", *words])


def test_params_begin_with_the_first_recipe(checkout, capsys):
    before = (checkout / "params.yaml").read_bytes()
    assert use(checkout, "sample") == 0
    assert (checkout / "params.yaml").read_bytes() == before
    assert "nothing changes" in capsys.readouterr().out


def test_another_recipe_in_between_leaves_no_trace(checkout):
    path = checkout / "params.yaml"
    path.write_text(path.read_text().replace("num_workers: 2", "num_workers: 3"))  # the user's own
    written: dict[str, bytes] = {}
    for name in (*RECIPES, "ezvsl_vggsound_10k", "released_urbansas", "sample"):
        use(checkout, name)
        assert written.setdefault(name, path.read_bytes()) == path.read_bytes()
    assert all(b"num_workers: 3" in text for text in written.values())
    assert len(set(written.values())) == len(RECIPES)


def test_the_change_is_shown_and_a_dry_run_writes_nothing(checkout, capsys):
    before = (checkout / "params.yaml").read_bytes()
    assert use(checkout, "ezvsl_vggsound_10k", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "-models: [ezvsl, htf]\n" in out and "+models: [ezvsl_10k]\n" in out
    assert (checkout / "params.yaml").read_bytes() == before

    use(checkout, "ezvsl_vggsound_10k")
    out = capsys.readouterr().out
    assert "About 14,920 clips and 27 GB" in out and "about 2 days at 300 videos an hour" in out
    assert "To go back: earshot use sample" in out

    # Each site has its own pace, and a release is fetched at once.
    use(checkout, "htf_vggsound_144k", "--dry-run")
    out = capsys.readouterr().out
    assert "vggsound takes about 21 days at 300 videos an hour (download.videos_per_hour)" in out
    assert "flickr takes about 3 minutes at 3600 videos an hour (download.other_videos" in out
    assert "flickr: the boxes of its test images are a download by hand" in out
    use(checkout, "released_urbansas", "--dry-run")
    assert "urbansas: 9.6 GB are fetched at once" in capsys.readouterr().out


def test_the_first_recipe_takes_back_all_that_others_change():
    base = set(yaml.safe_load((ROOT / "recipes" / "sample.yaml").read_text())["params"])
    for name in RECIPES:
        changed = set(yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text())["params"])
        assert changed <= base, name


def test_without_a_name_all_are_listed(checkout, capsys):
    assert use(checkout) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == RECIPES
    assert lines[0].startswith("sample ")


def test_a_folder_without_recipes_and_a_damaged_recipe_are_one_sentence(checkout, capsys):
    path = checkout / "recipes" / "lvs_flickr_10k.yaml"
    for old, new in (("num_downloads:", "downloads:"), ("{flickr: 10248}", "10248")):
        text = path.read_text()
        path.write_text(text.replace(old, new))
        assert use(checkout, "lvs_flickr_10k") == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1 and f"{path}: " in message
        assert "expected about, num_downloads, rows and params" in message
        path.write_text(text)

    shutil.rmtree(checkout / "recipes")
    assert use(checkout) == 2
    assert "recipes: holds no recipe" in capsys.readouterr().err


def test_a_section_that_is_not_there_is_named(checkout, capsys):
    path = checkout / "params.yaml"
    text, _, _ = path.read_text().partition("\nevaluate:")
    path.write_text(text + "\nevaluate: {protocols: [lvs]}\n")
    for command in ("use", "plan"):
        assert main(["--root", str(checkout), command, "htf_flickr_10k"]) == 2
        message = capsys.readouterr().err
        assert f"{path}: missing section evaluate.subsets, expected one with its keys" in message


def test_an_unknown_recipe_is_told_with_the_nearest(checkout, capsys):
    assert use(checkout, "ezvsl_vggsound_1k") != 0
    assert "did you mean ezvsl_vggsound_10k?" in capsys.readouterr().err
    # A part of the names of several.
    assert use(checkout, "released_lvs") != 0
    message = (
        "error: unknown recipe 'released_lvs', did you mean released_lvs_slavc? expected one of"
    )
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_the_parameters_of_everything_it_names(project_of, name):
    project = project_of(name)

    # Datasets, splits, features and runs exist, and the runs train and test on chosen splits.
    check_params(project)
    for dataset in project.datasets:
        about = load(dataset)
        splits = about.find_splits(project.parameters(about.parameters, f"sources.{dataset}"))
        assert set(project.section("evaluate.subsets")[dataset]) <= set(splits)
    for feature in ("frames", "flow", "spectrograms", "waveforms", *project.names("variants")):
        configure_feature(project, feature)


@pytest.mark.parametrize("name", [name for name in RECIPES if not name.startswith("sample")])
def test_a_recipe_tests_on_what_its_rows_were_tested_on(name):
    facts = yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text())
    values = {key: yaml.safe_load(text) for key, text in read_recipe(ROOT, name).values.items()}
    rows = {(row.method, row.trained_on, row.test_set): row for row in PUBLISHED}
    for row in facts["rows"]:
        published = rows[tuple(row)]
        # LocAcc counts samples whose overlap is above .5; its maps are those of `slavc`.
        protocol = "slavc" if published.protocol == "locacc" else published.protocol
        assert protocol in values["evaluate.protocols"]
        test_set = find_test_sets()[published.test_set]
        assert test_set.split in values[f"evaluate.subsets.{test_set.dataset}"]
        assert test_set.dataset in values["datasets"]
        if published.method == "Senocak 2023":
            assert "spectrograms-sslalignment" in values["variants"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_published_run_reads_the_sound_of_its_authors(project_of, name):
    """Each run finds its own variant, whatever the spectrogram of section `spectrogram` is."""
    project = project_of(name)
    own = {
        "lvs": "spectrograms-lvs",
        "ezvsl": "spectrograms-ezvsl",
        "htf": "spectrograms-htf",
        "rcgrad": "waveforms-rcgrad",
    }
    for run in project.names("models") if not name.startswith("sample") else ():
        data = read_run_data(project, run)
        method = read_run_parameters(project, run).method
        # An LVS that finds neighbours hears what the method hears that trains on them.
        if method in own and "_for_" not in run:
            assert data.features == (own[method],), run
        assert data.protocol in project.section("evaluate")["protocols"], run
        assert set(data.features) <= set(project.names("variants")), run


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The published lists: dataset -> split -> clip id -> video id."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for module in (vggsound, flickr):
        # Nobody here has a copy of these two.
        splits = tuple(set(module.SPLITS) - {*vggsound.FULL_SPLITS, "ssltie_vgg_190k"})
        parameters = module.Parameters(splits=splits, lists_dir=str(shared_path("lists")))
        clips, _ = module.build_tables(parameters, cache_dir=tmp_path_factory.mktemp("lists"))
        names = [clips[name].to_pylist() for name in ("clip_id", "video_id")]
        pairs = list(zip(*names, strict=True))
        found[module.DATASET.name] = {
            split: dict(pairs[row] for row in rows) for split, rows in split_members(clips).items()
        }
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_counts_its_clips_and_allows_the_leaks_of_its_lists(project_of, members, name):
    """Otherwise a training is refused after weeks of downloads."""
    project = project_of(name)
    datasets = [dataset for dataset in project.datasets if dataset in members]
    splits = {dataset: project.section(f"sources.{dataset}.splits") for dataset in datasets}
    has_all = all(split in members[dataset] for dataset in datasets for split in splits[dataset])
    if has_all:
        assert read_recipe(ROOT, name).num_downloads == {
            dataset: len(set().union(*(members[dataset][split] for split in splits[dataset])))
            for dataset in datasets
        }

    leaks = set()
    for run in project.names("models"):
        dataset = read_run_data(project, run).find_dataset(project)
        trained = members.get(dataset, {}).get(read_run_parameters(project, run).train_split, {})
        for split in project.section("evaluate.subsets").get(dataset, ()):
            if set(trained.values()) & set(members.get(dataset, {}).get(split, {}).values()):
                leaks.add((run, split))
    # Who trains on all of VGG-Sound trains on clips of VGG-SS.
    if has_all:
        assert project.section("audit")["allow_leakage"] == bool(leaks), leaks
    else:
        assert project.section("audit")["allow_leakage"]


def test_every_published_row_of_a_method_that_is_here_has_a_recipe():
    told = {
        tuple(row)
        for path in (ROOT / "recipes").glob("*.yaml")
        for row in yaml.safe_load(path.read_text())["rows"]
    }
    missing = {
        (row.method, row.trained_on, row.test_set)
        for row in PUBLISHED
        if row.own_method is not None
    } - told
    assert missing == set()
