"""Folders of trained models, and finished trainings that are brought back instead of repeated.

In reading order:

- ``run_folder``: ``model.ckpt`` and ``run.json`` of a run: write, read, adopt for another run.
- ``tensor_files.load_tensors``: read a PyTorch file without running code that it may hold.
- ``run_key.compute_run_key``: the hash of everything that decides the weights of a run.
- ``finished_runs.obtain_run``: bring back the finished run with a key, or train it.
"""
