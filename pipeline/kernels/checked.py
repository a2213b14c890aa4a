"""Taking code that Numba compiled into use, where it can be kept on disk and gives what it should."""

import pickle
from collections.abc import Callable


def load_checked(compile_function: Callable, is_right: Callable) -> Callable | None:
    """What ``compile_function()`` gives, a function of Numba with a cache on disk; None where it cannot be used.

    That is where Numba finds no folder that it can write, where the disk is full, and where ``is_right(function)``,
    which calls it, says no. What is broken on disk is compiled again.
    """
    try:
        function = compile_function()
    except RuntimeError:  # Numba finds no folder that it can write
        return None
    try:
        try:
            is_usable = is_right(function)
        except (EOFError, pickle.UnpicklingError):  # what is on disk is broken
            function.recompile()
            is_usable = is_right(function)
    except OSError:  # the disk is full
        return None
    return function if is_usable else None
