"""params.yaml as people write it: what is wrong is one sentence that names the key."""

from dataclasses import dataclass, field

import pytest

from earshot.errors import ParameterError
from pipeline.__main__ import main
from pipeline.base.parameters import IS_PATH, build
from pipeline.base.project import Project
from pipeline.base.user_files import find_stage_files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"params\.yaml: is empty, expected sections"),
        ("- sample\n", r"params\.yaml: holds list, expected sections"),
        ("datasets: [sample\n", r"params\.yaml: not valid YAML: .* line 1, column 11"),
    ],
)
def test_a_file_that_holds_no_sections(tmp_path, text, message):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParameterError, match=message):
        Project.load(tmp_path)


def test_a_mistyped_section_is_told_with_the_nearest(tmp_path):
    project = Project(tmp_path, {"train": {"ezvsl": {}}})
    with pytest.raises(
        ParameterError, match=r"missing section train\.ezvls, did you mean ezvsl\?$"
    ):
        project.section("train.ezvls")


def test_a_folder_that_is_no_checkout(tmp_path):
    with pytest.raises(
        ParameterError,
        match=r"params\.yaml: not found; run from the root of a checkout of Earshot, or name it",
    ):
        Project.load(tmp_path)

    # Below a checkout, the message names it.
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "docs" / "guides").mkdir(parents=True)
    with pytest.raises(ParameterError, match=rf"run from the root .*, which is {tmp_path}$"):
        Project.load(tmp_path / "docs" / "guides")


def test_a_folder_in_place_of_the_file(tmp_path):
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(ParameterError, match=r"params\.yaml: a folder, expected a file"):
        Project.load(tmp_path)


def test_without_any_dataset_there_is_no_first_one():
    assert Project("root", {"datasets": ["b", "a"]}).first_dataset == "b"
    with pytest.raises(ParameterError, match=r"params: datasets is \[\], expected at least one"):
        _ = Project("root", {"datasets": []}).first_dataset


@pytest.mark.parametrize("value", ["sample", None, {"sample": 1}, [["sample"]], [1]])
def test_names_that_are_no_list(value):
    with pytest.raises(
        ParameterError,
        match=r"params: datasets is .*, expected a list of names, for example \[sample\]",
    ):
        _ = Project("root", {"datasets": value}).datasets
    with pytest.raises(ParameterError, match=r"params: models is .*, expected a list of names"):
        _ = Project("root", {"models": value, "released": []}).runs


def test_a_name_that_a_list_has_twice():
    """What it stands for would be evaluated twice, and every score would count double."""
    params = {"datasets": ["sample", "local", "sample"], "models": ["htf"], "released": ["htf"]}
    project = Project("root", params)
    with pytest.raises(
        ParameterError,
        match="params: datasets has 'sample' twice, expected each name once",
    ):
        _ = project.datasets
    with pytest.raises(ParameterError, match="models and released together has 'htf' twice"):
        _ = project.runs

    @dataclass(frozen=True)
    class Parameters:
        protocols: tuple[str, ...] = ()
        means: tuple[float, ...] = ()

    with pytest.raises(ParameterError, match=r"evaluate\.protocols has 'lvs' twice"):
        build(Parameters, {"protocols": ["lvs", "lvs", "lvs"]}, "evaluate")
    assert build(Parameters, {"means": [0.5, 0.5]}, "evaluate").means == (0.5, 0.5)


@pytest.mark.parametrize(
    "params",
    [
        {"released": 3, "models": [["htf"]], "train": {}},
        {"released": [None], "models": "htf", "train_presets": 5},
        {"models": ["htf"], "train": {"htf": {"preset": ["small"]}}, "train_presets": {}},
        {"detections": {"datasets": 5, "detector": []}, "evaluate": []},
    ],
)
def test_what_the_check_refuses_names_no_file_of_the_user(tmp_path, params):
    assert find_stage_files(Project(tmp_path, params)) == {}


def test_the_home_of_nobody(tmp_path):
    """As a shell does, ``~name`` of no user is taken as it stands, and is then not found."""

    @dataclass(frozen=True)
    class Parameters:
        path: str = field(default="", metadata=IS_PATH)

    built = build(Parameters, {"path": "~nobody-here/x"}, "section", folder=tmp_path)
    assert built.path == f"{tmp_path}/~nobody-here/x"


@pytest.mark.parametrize("command", ["status", "missing", "retry"])
def test_commands_name_a_dataset_that_there_is_not(tmp_path, capsys, command):
    (tmp_path / "params.yaml").write_text("datasets: [vgsound]\n")
    assert main(["--root", str(tmp_path), command]) == 2
    assert capsys.readouterr().err == (
        "error: params: datasets has 'vgsound', expected one of flickr, local, sample, stills, "
        "table, urbansas, vggsound\n"
    )


def test_retry_says_what_it_cannot_do(tmp_path, capsys):
    (tmp_path / "params.yaml").write_text("datasets: [sample]\n")
    assert main(["--root", str(tmp_path), "retry", "--reason", "netwrk"]) == 2
    assert (
        "error: --reason is 'netwrk', expected one of account_terminated, age_restricted"
        in capsys.readouterr().err
    )
    assert main(["--root", str(tmp_path), "retry", "--reason", "network"]) == 2
    assert "error: no dataset has an account yet; run `dvc repro` first" in capsys.readouterr().err
