"""Let DVC replace dvc.lock in one step. ``environment.py`` puts this module into the environment.

DVC 3.67 writes dvc.lock in place after each stage, which takes a tenth of a second. A kill in that
time leaves half a file, and then every command of DVC fails: "'./dvc.lock' validation failed". DVC
has no setting and no plug-in for this. So a ``.pth`` file makes Python import this module when it
starts. It waits until DVC imports the module that writes such files, and changes a function there.
"""

import sys
from importlib.machinery import PathFinder

_WRITER = "dvc.utils.serialize._common"
_SUFFIX = ".unfinished"  # of what a kill leaves; the next one writes over it


class _Finder:
    """Finds the module as Python does, and lets it be changed once it is loaded."""

    @staticmethod
    def find_spec(name, path, target=None):
        if name != _WRITER:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader.exec_module = _change_after(spec.loader.exec_module)
        return spec


def _change_after(load):
    def load_and_change(module):
        load(module)
        # Another version of DVC may have no such function. Then nothing changes.
        if hasattr(module, "_dump_data"):
            module._dump_data = _in_one_step(module._dump_data)

    return load_and_change


def _in_one_step(dump):
    """Return a function that writes a file beside its place, then moves it there."""
    import os
    import shutil

    def dump_in_one_step(path, *arguments, **options):
        place = os.path.realpath(path)  # a link stays a link
        unfinished = place + _SUFFIX
        dump(unfinished, *arguments, **options)

        with open(unfinished, "rb") as file:
            os.fsync(file.fileno())
        if os.path.exists(place):
            shutil.copymode(place, unfinished)
        os.replace(unfinished, place)

    return dump_in_one_step


sys.meta_path.insert(0, _Finder)
