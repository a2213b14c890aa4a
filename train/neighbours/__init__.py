"""Find each clip's nearest clips, by frame and by sound, for the methods that train on them.

In reading order:

- ``neighbour_lists.obtain_neighbours``: bring back the lists of a training split, or make them.
- ``clip_encoders``: networks that are trained already turn clips into vectors.
- ``search``: the nearest vectors, exactly, block by block.
- ``label_clusters.obtain_labels``: clusters of such vectors, as pseudo-labels.
- ``run_labels.write_run_labels``, ``keep_run_labels``: those of a run, and how they travel.

The lists are kept by a key, like cached features: of the arrays, the encoders and their number.
"""
