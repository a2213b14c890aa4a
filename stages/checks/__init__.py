"""The parts of ``stages/check.py``, which checks all of params.yaml before any stage works.

In reading order:

- ``idle_settings``: ``refuse_idle`` refuses settings that change nothing where they are given
- ``evaluation``: ``check_evaluation``, of test sets, baselines and foreign maps
- ``runs``: ``check_runs`` and ``find_run_notes``, of what is trained; it imports PyTorch
"""
