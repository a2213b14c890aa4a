"""Use compiled code only where Numba can keep it on disk and its results are right."""

import pickle
from collections.abc import Callable


def load_checked(compile_function: Callable, is_right: Callable) -> Callable | None:
    """Compile a function with Numba's cache on disk, and return it if its result is right.

    Args:
        compile_function: Returns the function, which Numba compiles or loads at its first call.
        is_right: Calls the function and returns whether its result is right.

    Returns:
        The function. None if its result is wrong, if the disk is full, or if Numba finds no
        folder for its cache that it can write.
    """
    try:
        function = compile_function()
    except RuntimeError:  # Numba finds no folder that it can write
        return None

    # The first call loads the code from disk, or compiles it and writes it there.
    try:
        try:
            is_usable = is_right(function)
        except (EOFError, pickle.UnpicklingError):  # what is on disk is broken
            function.recompile()
            is_usable = is_right(function)
    except OSError:  # the disk is full
        return None

    return function if is_usable else None
