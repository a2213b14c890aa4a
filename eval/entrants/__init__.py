"""Entrants: whatever takes part in an evaluation, as a producer of localization maps.

- ``entrant.py``: ``Entrant``, ``Predict``: a name, its maps and what a reader must know of it
- ``baselines.py``: ``make_baseline``: entrants that need no training, and their maps
- ``external.py``: ``make_external``: maps of other systems, of ``evaluate.external``
- ``vision_only.py``: ``make_vision_only``: FlowGrad's topline, which looks and does not listen
- ``flowgrad_h.py``: ``FlowGradHMaps``: the maps that FlowGrad-H's authors score
- ``ceilings.py``: ``compute_ceilings``: the best that any map can score
- ``training_clips.py``: ``TrainingClips``: the test clips that a model was trained on
- ``negative_sounds.py``: ``make_sounds``: silence, noise and offscreen sound for each sample
- ``maps.py``: ``Maps``, ``NoMapError``, ``write_maps``, ``read_maps``: maps in memory and files
"""
