"""The program that fetches videos in processes of its own.

The engine starts it as ``python -m pipeline.downloads.worker`` and imports nothing of it. In
reading order:

- ``__main__``: reads requests and writes answers.
- ``fetcher.Fetcher``: decides how a video is fetched.
- ``ytdlp.SiteDownloader``: yt-dlp and its options.
- ``plain_http.fetch_plainly``: one plain request.
- ``make_clip.make_clip``: cuts, validates and hashes.
"""
