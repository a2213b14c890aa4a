"""The contract of the cache: everything that other people's code needs to read cached features.

Needs NumPy, h5py and pyarrow only. In reading order:

- ``reader``: ``FeatureReader`` returns the arrays of a feature by sample id
- ``tables``: ``CLIPS``, ``SAMPLES``, ``DOWNLOADS``, ``INDEX``; ``read_table``, ``write_table``
- ``shard_format``: the layout of a shard; ``write_shard``, ``read_layout``, ``read_row``
- ``files``: ``publish`` and its kin write a file completely or not at all
- ``errors``: ``EarshotError`` and its subclasses
"""
