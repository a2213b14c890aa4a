"""The parts that methods are built from.

- ``encoders.make_encoder``: image-like tensor in, feature map out.
- ``waveform_encoder.make_waveform_encoder``: waveform in, embedding out.
- ``losses``: the contrastive losses of the published methods.
- ``gradcam``: Grad-CAM maps without a backward pass.
- ``object_guidance``: EZ-VSL's map of where an object is.
"""
