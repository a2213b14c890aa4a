"""The wheel in an environment of its own: read a cache, train the example, score maps."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.helpers.cache.toy_dataset import write_toy_dataset
from tests.helpers.paths import ROOT

_SOURCES = ("earshot", "pipeline", "eval", "train", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Return the Python of a new environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("wheel")

    # Build from a copy: setuptools writes folders beside the sources.
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in _SOURCES:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, checkout / name, ignore=ignored)
        else:
            shutil.copy(source, checkout)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    options = ["-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "-w", folder, checkout], check=True)

    # Its packages are those of this environment, which has no earshot installed.
    venv.create(folder / "environment", with_pip=False)
    (site_packages,) = (folder / "environment").glob("lib/python*/site-packages")
    (site_packages / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel_path,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *options, "--target", site_packages, wheel_path], check=True)
    return folder / "environment" / "bin" / "python"


def run(python: Path, folder: Path, *words: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run([python, *words], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def workplace(tmp_path):
    """Return a user's folder with the examples, a cache, and a ``train.py`` and ``eval.py``."""
    write_toy_dataset(tmp_path)
    for path in (ROOT / "examples").glob("*.py"):
        shutil.copy(path, tmp_path)
    for name in ("train.py", "eval.py"):
        (tmp_path / name).write_text(f"MINE = {name!r}\n")
    return tmp_path


def test_a_users_train_and_eval_do_not_collide_with_reading_and_training(python, workplace):
    program = "import earshot, train, eval; print(earshot.__file__, train.MINE, eval.MINE)"
    done = run(python, workplace, "-c", program)
    assert done.stdout.split()[1:] == ["train.py", "eval.py"], done.stderr
    assert "site-packages" in done.stdout.split()[0]

    done = run(python, workplace, "train_your_own.py", "cache/toy", "train")
    assert done.returncode == 0, done.stderr
    first, *epochs = done.stdout.splitlines()
    assert first == "16 samples; left out: {'frames: not computed yet': 1}"
    assert len(epochs) == 2 and all(line.startswith("epoch ") for line in epochs)


def test_scoring_names_the_file_in_the_way_and_works_without_it(python, workplace):
    done = run(python, workplace, "score_your_maps.py", "cache/toy", "test")
    assert done.returncode == 1
    assert f"is hidden by {workplace / 'eval.py'}" in done.stderr

    (workplace / "eval.py").unlink()
    done = run(python, workplace, "score_your_maps.py", "cache/toy", "test")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("n 8, success rate 0.")


def test_importing_takes_no_time_before_it_is_used(python, tmp_path):
    program = "import earshot, sys; print(sorted({'numpy', 'torch', 'h5py'} & set(sys.modules)))"
    assert run(python, tmp_path, "-c", program).stdout.strip() == "[]"


_EARSHOT = (
    "import sys; from importlib.metadata import entry_points\n"
    "(command,) = entry_points(group='console_scripts', name='earshot')\n"
    "sys.exit(command.load()())"
)


def test_the_command_works_or_says_in_one_sentence_what_is_in_the_way(python, workplace):
    done = run(python, workplace, "-c", _EARSHOT, "--help")
    assert done.returncode == 0 and "localize" in done.stdout, done.stderr

    # Outside of a checkout, and with a file of the user's own.
    done = run(python, workplace, "-c", _EARSHOT, "status")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "params.yaml: not found; run from the root of a checkout" in done.stderr
    done = run(python, workplace, "-c", _EARSHOT, "score", "maps.npz")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"eval.score is hidden by {workplace / 'eval.py'}" in done.stderr

    (workplace / "eval.py").unlink()
    done = run(python, workplace, "-c", _EARSHOT, "score", "maps.npz", "--dataset", "sample")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "maps.npz: not found" in done.stderr

    # A checkout runs its own code.
    done = run(python, ROOT, "-c", "import sys; sys.path.pop(0)\n" + _EARSHOT, "status")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{ROOT} is a checkout, but this `earshot` runs the code of" in done.stderr
