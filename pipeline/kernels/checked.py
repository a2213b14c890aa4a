"""Use compiled code only where Numba can keep it on disk and its results are right."""

import pickle
from collections.abc import Callable


def load_checked(compile_function: Callable, is_right: Callable) -> Callable | None:
    """Compile a function with Numba's cache on disk, and return it if it can be trusted.

    Args:
        compile_function: Returns the function; compiled code that is broken on disk is made again.
        is_right: Calls the function and says whether its result is as it should be.

    Returns:
        The function, or None: its result is wrong, the disk is full, or Numba finds no folder for
        its cache that it can write.
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
