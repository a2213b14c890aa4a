"""Hand a dataset over: write its samples in formats that other programs read.

In reading order:

- ``parameters``: ``ExportParameters``. What to write.
- ``contents``: ``Contents``. What each sample has, and why it lacks the rest.
- ``encoding``: arrays and sounds as the bytes of files.
- ``plan``: ``plan_export``. Which samples go into which shard.
- ``export``: ``export_dataset``. Write what is not there yet; the index last.
- ``outputs``: one module a format.
- ``descriptions``: the manifest, the datasheet and the Croissant metadata.
"""
