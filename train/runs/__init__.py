"""Runs: their sections of params.yaml, their folders, and finished trainings that are brought back.

In reading order:

- ``settings``: ``read_run_parameters``, ``read_run_data``: what a run is, and what it reads.
- ``run_folder``: ``model.ckpt`` and ``run.json`` of a run: write, read, adopt for another run.
- ``tensor_files.load_tensors``: read a PyTorch file without running code that it may hold.
- ``run_key.compute_run_key``: the hash of everything that decides the weights of a run.
- ``finished_runs.obtain_run``: bring back the finished run with a key, or train it.

What ``check`` (``stages/checks/runs.py``) asks before any work:

- ``run_checks``: does a run find its dataset, its splits and its features?
- ``setting_values``: values that would end in a wrong number or a crash.
- ``idle_settings``: settings that change nothing.
- ``input_checks``: can a network read its features as they are set?
"""
