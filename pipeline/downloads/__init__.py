"""Get every clip of a list, or the reason why it is missing.

In reading order:

- ``reasons``: ``REASONS``, ``classify``. Why a clip is missing; one row a reason.
- ``ledger``: ``Ledger``, ``read_entries``. Every attempt, never changed.
- ``history``: ``History``, ``read_histories``. What the ledger says about each clip.
- ``table``: ``derive_downloads``, ``derive_from_ledger``. The rows of ``downloads.parquet``.
- ``parameters``: ``DownloadParameters``. Section ``download`` of params.yaml.
- ``engine``: ``download_clips``. Fetches what is due.
- ``backoff``: ``Pace``, ``CircuitBreaker``, ``StopRule``. When a run waits, pauses or stops.
- ``worker_pool``, ``messages``: starting worker processes and talking to them.
- ``worker``, ``ytdlp``, ``plain_http``, ``make_clip``: what a worker process does.
- ``clip_files``: names of clip files, and moving them to their place.
- ``counts``: ``count_clips``, ``count_splits``, ``count_reasons``, ``list_missing_clips``.
- ``imports``: taking clips that people already have (a room of its own).
"""
