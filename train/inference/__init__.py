"""Maps from networks that are not being trained.

In reading order:

- ``predictor``: maps of cached samples (``Predictor``, ``load_predictor``,
  ``make_untrained_predictor``)
- ``retrieval``: pooled features of frames and sounds (``embed_pairs``)
- ``sound_comparison``: raw similarities with other sounds (``compare_sounds``)
- ``object_baseline``: EZ-VSL's map of objects alone (``make_object_predictor``)
- ``detector``: the network behind the feature ``detections``
- ``raft_flow``: flow of a network, the variant ``flow-raft``
"""
