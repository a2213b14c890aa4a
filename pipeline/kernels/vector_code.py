"""What intrinsics written for LLVM have in common: an array's numbers, and vectors of them in memory.

Numba's cache does not notice a change of this file alone: change the kernels that use it with it.
"""


def find_data(context, builder, signature, arguments, index):
    """The pointer to the numbers of the array that is argument ``index``."""
    return context.make_array(signature.args[index])(context, builder, arguments[index]).data


def load_vector(builder, data, position, kind, *, align=4):
    """A vector (or a number) of type ``kind`` from a position of an array on, aligned to ``align`` bytes at least."""
    loaded = builder.load(builder.bitcast(builder.gep(data, [position]), kind.as_pointer()))
    loaded.align = align
    return loaded


def store_vector(builder, vector, data, position, *, align=4):
    """Put a vector into an array from a position on, aligned to ``align`` bytes at least."""
    builder.store(
        vector, builder.bitcast(builder.gep(data, [position]), vector.type.as_pointer())
    ).align = align
