"""Audits: facts about the data that decide whether two results can be compared.

- ``leakage.py``: do training splits share clips or videos with test splits?
- ``coverage.py``: how much of each published test set is on this machine?
"""
