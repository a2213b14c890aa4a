"""Results: the tables of an evaluation.

- ``evaluate.py``: ``evaluate_dataset``: all entrants on one dataset
- ``model_results.py``: ``evaluate_model``: one model on a dataset
- ``model_scores.py``: ``ModelMaps``, ``score_model``: maps to one row per sample and protocol
- ``summaries.py``: ``summarize``: the rows of a test set to one result
- ``comparisons.py``: ``choose_pairs``, ``compare_pairs``, ``summarize_intersection``: models with
  each other
- ``breakdowns.py``: ``group_samples``, ``break_down``: results by class, size and circumstances
- ``dvc_summary.py``: ``summarize_for_dvc``: the few numbers of ``summary.json``, for DVC
- ``negative_audio.py``: ``evaluate_negative_audio``: silence, noise and offscreen sound
- ``negative_audio_scores.py``: ``measure``, ``summarize``: similarities to its numbers
- ``further_metrics.py``: ``compute_further``: sweeps, masks, several sources, retrieval
- ``source_scores.py``: ``score_several_sources``: a map for each source of a picture
- ``seeds.py``: ``summarize_seeds``, ``add_seed_ranges``: runs that differ in the seed alone
- ``kept_maps.py``: ``keep_maps``, ``find_problems``: maps for the page, and which are odd
- ``files.py``: ``write_results``, ``read_results``, ``METRICS``: the files, field by field
"""
