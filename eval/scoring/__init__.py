"""Scoring: from a localization map and the boxes of a sample to numbers.

- ``ground_truth.py``: ``make_ground_truth``, ``ground_truths_of``: boxes to the map to be found
- ``protocols.py``: ``PROTOCOLS``, ``get_protocol``: which pixels a published evaluation marks
- ``upsampling.py``: ``upsample``: a low-resolution map to the grid of 224x224 pixels
- ``score_maps.py``: ``score_maps``: maps and ground truth to scores of each sample
- ``metrics.py``: ``success_rate``, ``auc`` and others: scores of many samples to one number
- ``interactive.py``: ``compute_group_cious``: IIoU and IAUC, two sounds of one picture
- ``negative_audio.py``: ``score_negative_audio``: whether a model is silent when nothing sounds
- ``masks.py``: ``compute_mean_iou``, ``compute_mask_f``, ``sweep_thresholds``: scores of masks
- ``several_sources.py``: ``score_duet``: CAP, PIAP and IoU of two sources at once
- ``retrieval.py``: ``compute_recalls``: R@k of sounds and frames
- ``bootstrap.py``: ``intervals``, ``compare_paired``: how certain such a number is
- ``selection.py``: the score by which a training run chooses its checkpoint
"""
