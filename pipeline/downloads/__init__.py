"""Get every clip of a list, or the reason why it is missing.

In reading order:

- ``reasons``: ``REASONS``, ``classify``. Why a clip is missing; one row a reason.
- ``ledger``: ``Ledger``, ``read_entries``. Every attempt, never changed.
- ``ledger_copy``: ``publish_copy``, ``adopt_copy``. The ledger travels with DVC's outputs.
- ``history``: ``History``, ``read_histories``. What the ledger says about each clip.
- ``table``: ``derive_downloads``, ``derive_from_ledger``. The rows of ``downloads.parquet``.
- ``parameters``: ``DownloadParameters``. Section ``download`` of params.yaml.
- ``engine``: ``download_clips``. Fetches what is due.
- ``book``: ``Book``. What is due, what happened, which clips are in place.
- ``video_queue``: ``VideoQueue``. The videos that wait, by site.
- ``sites``: ``SiteGates``. Pace and pauses of each site, shared by all processes.
- ``stop_rule``: ``StopRule``. When a site pauses and when a run stops.
- ``worker_pool``, ``messages``: starting worker processes and talking to them.
- ``clip_files``: names of clip files, and moving them to their place.
- ``counts``: ``count_clips``, ``count_splits``, ``count_reasons``, ``list_missing_clips``.
- ``tool_versions``: ``find_js_runtimes``, ``describe_tools``. yt-dlp's tools and their versions.

Two rooms of their own:

- ``worker``: the program that fetches videos in processes of its own.
- ``imports``: taking clips that people already have.
"""
