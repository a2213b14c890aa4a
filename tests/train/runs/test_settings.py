"""A run takes settings from its section, then its preset, then the published defaults."""

from pathlib import Path

import pytest

from earshot.errors import ParameterError
from pipeline.base.project import Project
from train.runs.settings import read_run_parameters, takes_over_run

PRESETS = {"small": {"width": 8, "epochs": 3}}


def make_project(**section):
    params = {"train": {"mine": section}, "train_presets": PRESETS}
    return Project(Path("."), params)


def test_a_section_overrides_its_preset_and_a_preset_the_defaults():
    project = make_project(method="ezvsl", preset="small", epochs=5)
    parameters = read_run_parameters(project, "mine")
    assert (parameters.width, parameters.epochs, parameters.batch_size) == (8, 5, 128)


def test_a_run_needs_no_preset():
    parameters = read_run_parameters(make_project(method="ezvsl"), "mine")
    assert (parameters.width, parameters.epochs) == (64, 100)


def test_an_unknown_preset_is_named():
    project = make_project(method="ezvsl", preset="smal")
    message = r"train\.mine\.preset is 'smal', expected one of small \(section train_presets\)"
    with pytest.raises(ParameterError, match=message):
        read_run_parameters(project, "mine")


def test_a_run_takes_over_another_one_with_its_preset():
    project = make_project(method="ezvsl", preset="small", epochs=5)
    project.params["train"]["again"] = {"method": "ezvsl", "preset": "mine", "seed": 1}
    parameters = read_run_parameters(project, "again")
    assert (parameters.width, parameters.epochs, parameters.seed) == (8, 5, 1)
    assert takes_over_run(project, "again") and not takes_over_run(project, "mine")


def test_runs_that_take_over_each_other_are_an_error():
    project = make_project(method="ezvsl", preset="again")
    project.params["train"]["again"] = {"method": "ezvsl", "preset": "mine"}
    with pytest.raises(ParameterError, match=r"again\.preset is 'mine', which takes over again"):
        read_run_parameters(project, "mine")


def test_a_preset_with_a_key_that_the_method_lacks_is_an_error():
    project = make_project(method="ezvsl", preset="wrong")
    project.params["train_presets"] = {"wrong": {"widht": 8}}
    with pytest.raises(ParameterError, match=r"unknown key train\.mine\.widht"):
        read_run_parameters(project, "mine")
