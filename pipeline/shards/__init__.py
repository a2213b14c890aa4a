"""The feature cache: which arrays are computed, where they are, and whether they are whole.

In reading order:

- ``requests``: ``find_clips``, ``make_requests`` - what a feature needs, one request per sample
- ``keys``: ``KeyMaker`` - the hash that an array is found by
- ``store``: ``Store``, ``prune_store`` - all shards that were ever computed, and their catalog
- ``dvc_cache``: ``find_cached_files`` - the shards that DVC has
- ``plan``: ``Planner``, ``Task`` - which arrays are missing, grouped into tasks
- ``tasks``: ``run_task``, ``Extract`` - what a worker does with a task
- ``cluster``: ``ClusterParameters``, ``open_client`` - where tasks run
- ``software``: ``Software``, ``require_software`` - refuse tasks of other code or libraries
- ``task_run``: ``run_tasks`` - hand out tasks; survive workers that crash or hang
- ``worker_watch``: ``WorkerWatch`` - replace workers that hang, and say how others ended
- ``worker_exits``: ``WatchedNanny``, ``list_exits`` - exit codes and signals of local workers
- ``crash_log``: ``CrashLog`` - find the clip that ends workers
- ``build``: ``build_feature`` - all of this in order; the entrance for stages
- ``account``: ``write_account``, ``find_account_problem`` - counts of an index, as a DVC metric
- ``verify``: ``verify_feature`` - compare every byte with what was written
- ``repair``: ``repair_feature``, ``remove_damaged_files`` - remove what is damaged, build it again
"""
