"""Whoever only reads the cache needs three packages."""

import subprocess
import sys

from tests.helpers.paths import ROOT

# Packages that come on top of NumPy, h5py and pyarrow, and of what these load themselves.
SCRIPT = """
import importlib, pkgutil, sys
import h5py, numpy, pyarrow.parquet

before = {name.split(".")[0] for name in sys.modules} | set(sys.stdlib_module_names)
import earshot
for module in pkgutil.iter_modules(earshot.__path__):
    if module.name != "torch":  # the one module that needs more
        importlib.import_module(f"earshot.{module.name}")
print(*sorted({name.split(".")[0] for name in sys.modules} - before))
"""


def test_earshot_needs_nothing_but_numpy_h5py_and_pyarrow():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["earshot"]
