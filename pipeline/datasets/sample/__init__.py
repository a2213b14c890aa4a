"""The dataset ``sample``: clips that are rendered on this machine, so that nothing is downloaded.

- ``dataset.py``: ``Parameters``, ``build_tables``, ``DATASET``
- ``entries.py``: ``list_entries``: which clips there are, each with its scene
- ``scenes.py``: ``make_scene``: which objects are where, how they move, which of them sound
- ``sprites.py``, ``sounds.py``: what an object of each class looks and sounds like
- ``rendering.py``: ``SceneRenderer``, ``render_sound``, ``encode``: a scene to a media file
- ``remote.py``: ``render_all``: the folder of rendered files
"""
