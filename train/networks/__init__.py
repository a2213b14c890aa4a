"""The parts that methods are built from.

- ``encoders``: a room of its own; one input in, features out.
- ``losses``: the contrastive losses of the published methods.
- ``gradcam``: Grad-CAM maps without a backward pass.
- ``object_guidance``: EZ-VSL's map of where an object is.
"""
