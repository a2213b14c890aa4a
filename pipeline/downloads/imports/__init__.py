"""Take clips that people already have instead of downloading them.

Public names in reading order:

- ``import_clips.import_clips``, ``ImportParameters``: match, validate, publish.
- ``collector.Collector``: sorts files by clip until a clip has all its parts.
- ``clip_names.ClipNames``: find the clip that a file's name means.
- ``sources.find_sources``: check what a user names; ``SourceReader``: the files in folders,
  archives and data sets on the hub.
- ``hub.HubSource``: lists and fetches files of the Hugging Face hub.
- ``webdataset.read_descriptions``: which clips the members of a WebDataset shard are.
"""
