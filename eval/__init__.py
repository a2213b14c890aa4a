"""Earshot's evaluation: ground truth, metrics, protocols, baselines without training, report. NumPy only."""
