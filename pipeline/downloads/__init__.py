"""Get every clip of a list, or the reason why it is missing.

In reading order:

- ``parameters``: ``DownloadParameters``. Section ``download`` of params.yaml.
- ``engine``: ``download_clips``. Fetches what is due.
- ``book``: ``Book``. What is due, what happened, which clips are in place.
- ``video_queue``: ``VideoQueue``. The videos that wait, by site.
- ``sites``: ``SiteGates``. Pace and pauses of each site, shared by all processes.
- ``stop_rule``: ``StopRule``. When a site pauses and when a run stops.
- ``video_requests``: what a worker is asked for.
- ``table_rules``: ``find_table_rules``. What the table says of clips that are not wanted.
- ``run_result``: ``check_result``. Whether what a run brought may be used.
- ``worker_pool``, ``messages``: starting worker processes and talking to them.
- ``clip_files``: names of clip files, and moving them to their place.
- ``ytdlp_options``: ``check_options``. Which options of yt-dlp a user may set.
- ``browser_cookies``: ``use_browser_cookies``. The cookies of a browser, for one run.
- ``tool_versions``: ``find_js_runtimes``, ``describe_tools``. yt-dlp's tools and their versions.

Three rooms of their own:

- ``account``: what happened to each clip, and the rows of ``downloads.parquet``.
- ``worker``: the program that fetches videos in processes of its own.
- ``imports``: taking clips that people already have.
"""
