"""The notebook runs in a project that has a report, cell by cell, and shows what it says."""

import ast
import shutil
import sys

import nbformat
import numpy as np
import pytest
from PIL import Image

from tests.helpers.manual_project import write_manual_project
from tests.helpers.paths import ROOT

NOTEBOOK = ROOT / "examples" / "look_inside.ipynb"


def run_cell(source: str, namespace: dict) -> object:
    """Run a cell; return the value of its last line, which Jupyter would show."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), namespace)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), namespace)


@pytest.fixture
def examples_dir(tmp_path):
    """Return the folder ``examples`` of a project, where Jupyter runs the notebook."""
    project = write_manual_project(tmp_path)
    folder = project.root / "examples"
    folder.mkdir()
    shutil.copy(NOTEBOOK, folder)
    return folder


def test_the_notebook_shows_cache_map_and_numbers(examples_dir, monkeypatch, capsys):
    monkeypatch.chdir(examples_dir)
    monkeypatch.setattr(sys, "path", list(sys.path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells), "clear the outputs before you commit"

    namespace: dict = {}
    shown = [run_cell(cell.source, namespace) for cell in cells]
    pictures = [np.asarray(value) for value in shown if isinstance(value, Image.Image)]
    frame, spectrogram, overlay = pictures
    assert frame.shape == overlay.shape == (246, 328, 3) and spectrogram.shape == (257, 300)
    assert (overlay != frame).any() and (frame == (0, 255, 0)).all(-1).any()

    # The map is over the frame where the model hears the source.
    values = namespace["maps"][namespace["sample"].sample_id]
    peak = np.unravel_index(values.argmax(), values.shape)
    row, column = ((np.array(peak) + 0.5) / values.shape * frame.shape[:2]).astype(int)
    assert overlay[row, column, 0] > 180

    # The last line compares the report's number with one that was computed here.
    last = capsys.readouterr().out.splitlines()[-1].split()
    here, reported = float(last[1].rstrip(",")), float(last[-1])
    assert here == reported == pytest.approx(namespace["row"]["mean_ciou"], abs=1e-6)
