"""The dataset ``urbansas``: street scenes with boxes of sounding vehicles.

- ``dataset.py``: ``Parameters``, ``build_tables``, ``DATASET``
- ``release.py``: ``find_release``, ``fetch_release``: a release and its annotations
- ``rules.py``: ``apply_rules``: which moments and boxes FlowGrad evaluates
"""
