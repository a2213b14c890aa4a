"""What happened to each clip of a dataset, and why a clip is missing.

In reading order:

- ``reasons``: ``REASONS``, ``classify``. Why a clip is missing; one row a reason.
- ``ledger``: ``Ledger``, ``read_entries``. Every attempt, never changed.
- ``ledger_copy``: ``publish_copy``, ``adopt_copy``. The ledger travels with DVC's outputs.
- ``paths``: ``AccountPaths``. Where the clips and their account are.
- ``history``: ``History``, ``RetryPolicy``. What the ledger says about a clip.
- ``histories``: ``read_histories``. The histories of all clips of a list.
- ``table``: ``TableRules``, ``derive_downloads``, ``derive_from_ledger``. The rows of
  ``downloads.parquet``.
- ``doubts``: ``find_doubtful_clips``. In which clips features found damage.
- ``counts``: ``count_clips``, ``count_splits``, ``count_reasons``, ``list_missing_clips``.
"""
