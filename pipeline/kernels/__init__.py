"""OpenCV's Farneback flow with the same bits, faster.

In reading order:

- ``farneback``: ``compute_farneback`` - the only function that other rooms call
- ``farneback_loops``: ``compile_refine_level`` - one level of the pyramid, compiled by Numba
- ``farneback_simd``: vector code for these loops, written for LLVM
- ``checked``: ``load_checked`` - use compiled code only where its results are right

Without the modules ``farneback_loops``, ``farneback_simd`` and ``checked``, or with
``EARSHOT_KERNELS=0`` in the environment, OpenCV computes the flow and every result is the same.
"""
