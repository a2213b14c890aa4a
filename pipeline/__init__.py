"""Earshot's library, without PyTorch: from lists of clips to cached features.

Its rooms, from the bottom up (a room imports only from those above it in this list):

- ``base``: files, HTTP, archives, parameters, project, progress
- ``media``: read any media file by time; validate and cut it
- ``kernels``: fast optical flow with OpenCV's results; everything works without it
- ``features``: what is computed from a moment of a clip
- ``shards``: the cache of features: plan, build, verify, repair
- ``downloads``: get each clip, or the reason why it is missing
- ``lists``: read lists of clips that others published
- ``datasets``: the datasets behind one interface
- ``audit``: find test clips among the training clips
- ``exports``: write a dataset in formats that other programs read
- ``commands``: ``earshot COMMAND``
"""
