"""The dataset ``stills``: test sets of still pictures with sounds, from published lists.

- ``dataset.py``: ``Parameters``, ``build_tables``, ``DATASET``
- ``sets.py``: ``SETS``: one row a test set: its lists, how they are read, and who reports on it
- ``entries.py``: ``Entry`` and the readers of each form of list
- ``media.py``: ``MediaFolder``, ``join_duet``: pictures, sounds and masks in a folder of yours
"""
