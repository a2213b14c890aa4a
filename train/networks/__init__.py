"""The parts that methods are built from.

- ``encoders``: a room of its own; one input in, features out.
- ``losses``: the contrastive losses of the published methods.
- ``gradcam``: Grad-CAM maps without a backward pass.
- ``object_guidance``: EZ-VSL's map of where an object is.
- ``equivariance``: SSL-TIE's moved frames and maps.
- ``clustering``: DMC's soft k-means.
- ``simsiam``, ``predictive_coding``: SSPL's head and module.
- ``category_labels``, ``sound_categories``, ``part_alignment``: CoarseToFine's labels and parts.
- ``sample_draws``: random numbers of samples, the same in one process or several.
"""
