"""The formats of an export, a module each.

- ``webdataset``: tar files, for streaming
- ``huggingface``: Parquet files with a card, for ``datasets.load_dataset``
- ``files``: ``frames/ID.jpg``, ``audio/ID.wav``, as the code of many papers reads them

A module has the functions of ``export.Output``.
"""
