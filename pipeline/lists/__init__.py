"""Published lists and annotations: fetch them, read them, and turn them into table rows.

- ``record_files.py``: ``read_records``: rows of CSV, JSON lines or Parquet
- ``record_samples.py``: ``make_sample``: one of these rows as a sample
- ``record_columns.py``, ``column_samples.py``: ``read_tables``: the same for millions of rows
- ``folder_walk.py``: ``FolderWalk``: the files below a folder
- ``published_lists.py``: ``Lists`` finds or fetches a list; ``read_ids``, ``read_pairs``
  read ids from it
- ``selection.py``: ``Selection``, ``Chooser``: ``ids``, ``limit`` and ``exclude_flags``
- ``annotations.py``: ``read_vggss``, ``read_flickr_xml``, ``read_frame_choices``: boxes and frames
- ``box_checks.py``: ``check_boxes``: are the boxes shares of the frame?
- ``soundnet.py``: ``read_addresses``: addresses of Flickr videos
- ``flickr_lists.py``, ``vggsound_lists.py``: where each list comes from; ``read_full``:
  ``vggsound.csv``
- ``masks.py``: ``read_mask``, ``encode_mask``, ``decode_mask``: masks as text in a table
- ``origins.py``: ``read_origins``, ``find_made_from``: the published clips behind a sample
- ``rows.py``: ``Membership``, ``make_clips``, ``make_samples``, ``make_negatives``: the tables
"""
