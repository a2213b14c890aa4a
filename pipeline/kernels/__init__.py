"""OpenCV's Farneback flow with the same bits, faster.

farneback.compute_farneback   the only function that other rooms call

Without the modules ``farneback_loops``, ``farneback_simd`` and ``checked``, or with
``EARSHOT_KERNELS=0`` in the environment, OpenCV computes and every result is the same.
"""
