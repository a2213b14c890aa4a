"""Weights that were not trained here: ImageNet's, and those that authors released.

In reading order:

- ``initialization``: give a network its first weights (``initialize``)
- ``imagenet_weights``: put torchvision's weights into an encoder (``load_backbone``)
- ``frozen_networks``: make a network that is not trained (``load_classifier``,
  ``attach_classifier``)
- ``fetch``: fetch a file of weights once (``fetch_weights``)
- ``released``: make a run of an entry of section ``weights`` in params.yaml (``ReleasedWeights``,
  ``make_released_run``)
- ``published_checkpoints``: read a checkpoint in its authors' layout (``load_published``) and turn
  it into a run folder (``import_published``); also a command
- ``published_layouts``: which method a checkpoint belongs to, and whether it fits
- ``state_dicts``: find the tensors in a checkpoint (``find_state_dict``, ``read_weights``)
- ``first_files``: what a run begins with: fetched, or brought by its user
- ``network_checks``: can a network be made, and does it fit what it begins with and reads?
"""
