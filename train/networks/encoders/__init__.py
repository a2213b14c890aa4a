"""Networks that turn one input into features: pictures, flow and sound.

- ``image_encoder.make_encoder``: image-like tensor in, feature map out.
- ``waveform_encoder.make_waveform_encoder``: waveform in, embedding out.
- ``mel``: mel spectrograms inside a network.
- ``timm_trunk``: trunks of the package timm.
- ``soundnet``, ``vggish``: frozen networks of sound.
- ``lwtnet``: AVObject's encoders of short videos and their sound.
"""
