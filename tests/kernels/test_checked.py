"""Compiled code is used only where it can be kept on disk and gives what it should."""

import pickle

import pytest

from pipeline.kernels.checked import load_checked


class Compiled:
    """A function that doubles; the first call raises ``error``, as Numba does when its cache is in
    trouble.
    """

    def __init__(self, error=None, *, factor=2):
        self.error = error
        self.factor = factor
        self.was_compiled_again = False

    def __call__(self, number):
        if self.error:
            raise self.error
        return self.factor * number

    def recompile(self):
        self.error = None
        self.was_compiled_again = True


def load(function):
    return load_checked(lambda: function, lambda double: double(3) == 6)


def test_right_code_is_used_as_it_is():
    function = Compiled()
    assert load(function) is function
    assert not function.was_compiled_again


def test_wrong_code_is_not_used():
    assert load(Compiled(factor=3)) is None


@pytest.mark.parametrize(
    "error", [EOFError("Ran out of input"), pickle.UnpicklingError("pickle data was truncated")]
)
def test_broken_code_on_disk_is_compiled_again(error):
    function = Compiled(error)
    assert load(function) is function
    assert function.was_compiled_again
    assert load(Compiled(error, factor=3)) is None


def test_a_full_disk_leaves_none():
    assert load(Compiled(OSError(28, "No space left on device"))) is None


def test_no_folder_that_can_be_written_leaves_none():
    def compile_function():
        raise RuntimeError("cannot cache function: no locator available")

    assert load_checked(compile_function, lambda double: True) is None


def test_other_errors_are_not_hidden():
    with pytest.raises(TypeError):
        load(Compiled(TypeError("cannot be typed")))
