"""Evaluation without training code (NumPy, no torch): from localization maps to a report.

- ``eval.scoring``: a map and boxes become numbers, under each published protocol;
- ``eval.published``: the test sets of papers, and the rows of their tables;
- ``eval.entrants``: what is evaluated: models, untrained networks, baselines;
- ``eval.results``: scores and results of all entrants, with intervals and comparisons;
- ``eval.report``: the page and the tables for papers;
- ``eval.score``: the command ``earshot score`` for maps of your own.
"""
