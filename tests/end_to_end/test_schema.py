"""params.schema.json says what the parameter classes say."""

import json

import jsonschema
import pytest
import yaml

from stages.schema import SCHEMA_NAME, make_schema, read_comments
from tests.helpers.paths import ROOT
from train.models.fnac import Parameters


@pytest.fixture(scope="module")
def schema():
    return json.loads((ROOT / SCHEMA_NAME).read_text())


@pytest.fixture
def params():
    return yaml.safe_load((ROOT / "params.yaml").read_text())


def complaints(schema, params) -> str:
    found = jsonschema.Draft202012Validator(schema).iter_errors(params)
    return "\n".join(f"{error.json_path}: {error.message}" for error in found)


def test_the_file_is_that_of_the_classes(schema):
    assert schema == make_schema(), "run: python -m stages.schema"
    jsonschema.Draft202012Validator.check_schema(schema)


def test_params_yaml_is_right(schema, params):
    assert complaints(schema, params) == ""


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("flow.windowsize", 15, "'windowsize' was unexpected"),
        ("train.ezvsl.marginn", 0.2, "'marginn' was unexpected"),
        ("train.lvs.num_contrast_epochs", 1, "'num_contrast_epochs' was unexpected"),
        ("train.ezvsl.negatives", "all", "'all' is not one of ['gathered', 'local']"),
        ("detections.detector.name", 3, "3 is not of type 'string'"),
        ("flwo", {}, "'flwo' was unexpected"),
    ],
)
def test_what_is_wrong_is_underlined(schema, params, place, value, words):
    *sections, key = place.split(".")
    section = params
    for name in sections:
        section = section[name]
    section[key] = value
    assert words in complaints(schema, params)


def test_a_comment_explains_its_field():
    comments = read_comments(Parameters)
    assert comments["accumulate"] == (
        "batches before an optimizer step; their negatives stay apart"
    )
    assert comments["negatives"].startswith("with several processes: the negatives of the whole")
    assert not any("---" in comment for comment in comments.values())
