"""The feature cache: which arrays are computed, where they are, and whether they are whole.

In reading order:

- ``requests``: ``find_clips``, ``make_requests`` - what a feature needs, one request per sample
- ``keys``: ``KeyMaker`` - the hash that an array is found by
- ``store``: ``Store``, ``prune_store`` - all shards that were ever computed, and their catalog
- ``dvc_cache``: ``find_cached_files`` - the shards that DVC has
- ``plan``: ``Planner``, ``Task`` - which arrays are missing, grouped into tasks
- ``tasks``: ``run_task``, ``Extract`` - what a worker does with a task
- ``task_run``: ``run_tasks`` - hand out tasks; survive workers that crash or hang
- ``build``: ``build_feature`` - all of this in order; the entrance for stages
- ``account``: ``write_account``, ``find_account_problem`` - counts of an index, as a DVC metric
- ``clip_fit``: ``describe_clip_fit`` - which clips do not give what a feature takes
- ``verify``: ``verify_feature`` - compare every byte with what was written
- ``repair``: ``repair_feature``, ``remove_damaged_files`` - remove what is damaged, build it again

A room of its own:

- ``workers``: Dask workers on this machine or on a cluster, and how they end
"""
