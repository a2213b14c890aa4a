"""Dask workers: where they run, what they compute with, and how they end.

In reading order:

- ``cluster``: ``ClusterParameters``, ``open_client`` - where tasks run
- ``software``: ``Software``, ``require_software`` - refuse tasks of other code or libraries
- ``worker_watch``: ``WorkerWatch`` - replace workers that hang, and say how others ended
- ``worker_exits``: ``WatchedNanny``, ``list_exits`` - exit codes and signals of local workers
- ``crash_log``: ``CrashLog`` - find the clip that ends workers
"""
