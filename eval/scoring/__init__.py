"""Scoring: from a localization map and the boxes of a sample to numbers.

- ``ground_truth.py``: ``make_ground_truth``, ``ground_truths_of``: boxes to the map to be found
- ``protocols.py``: ``PROTOCOLS``, ``get_protocol``: which pixels a published evaluation marks
- ``upsampling.py``: ``upsample``: a low-resolution map to the grid of 224x224 pixels
- ``score_maps.py``: ``score_maps``: maps and ground truth to scores of each sample
- ``metrics.py``: ``success_rate``, ``auc`` and others: scores of many samples to one number
- ``bootstrap.py``: ``intervals``, ``compare_paired``: how certain such a number is
- ``selection.py``: the score by which a training run chooses its checkpoint
"""
