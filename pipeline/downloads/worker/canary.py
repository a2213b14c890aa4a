"""Look whether yt-dlp finds a format of one video, with the options of downloads.

``python -m pipeline.downloads.worker.canary`` reads ``{"parameters": ..., "url": ...}`` from its
standard input, so that no secret stands on a command line. It prints the format, or on its
standard error what yt-dlp says, and then exits with 1. Nothing is downloaded.
"""

import json
import sys
import tempfile
from pathlib import Path

from pipeline.base.parameters import build
from pipeline.downloads.parameters import FetchParameters
from pipeline.downloads.worker.ytdlp import SiteDownloader


def main() -> int:
    """Ask the site; return the exit code."""
    request = json.load(sys.stdin)
    parameters = build(FetchParameters, request["parameters"], "download")

    with tempfile.TemporaryDirectory(prefix="canary-") as folder:
        sites = SiteDownloader(parameters, private_dir=Path(folder) / "private")
        try:
            info = sites.load().extract_info(request["url"], download=False)
        except Exception as error:  # whatever an extractor raises is the answer
            print(error, file=sys.stderr)
            return 1
        finally:
            sites.close()
    print(f"{info.get('format_id')} {info.get('height')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
