"""Localize the sound in any video, beside the datasets and their cache.

In reading order:

- ``parameters``: how often a video is localized, and how maps are drawn (``LocalizeParameters``)
- ``localization``: one video in, a copy with maps and the maps out (``localize_video``)
- ``model_features``: the features that a model reads (``make_features``)
- ``video_maps``: compute the maps over time and keep them in a file (``iter_maps``,
  ``MapRecorder``)
- ``overlay``: draw maps over the frames (``draw_map``, ``write_video``)
- ``encoder``: encode pictures with ffmpeg, beside the sound of the original (``VideoEncoder``)

The command is ``earshot localize``.
"""
