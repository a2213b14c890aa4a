"""Show the progress of long work: a tqdm bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import IO

from tqdm import tqdm

_PLAIN_INTERVAL_SECONDS = 10.0


class Progress:
    """Count finished and failed units of work. A context manager.

    A terminal shows a tqdm bar with rate, remaining time and number of failures. Elsewhere a plain
    line appears at most every ten seconds and one at the end, so that logs stay readable.

    Args:
        total: Number of units, or None when it is not known.
        description: What the line begins with.
        unit: Name of one unit; an "s" is appended in plain lines.
        is_quiet: Whether to print only the last plain line.
        file: Where to print. None is stderr.
    """

    def __init__(
        self,
        total: int | None,
        description: str,
        *,
        unit: str = "clip",
        is_quiet: bool = False,
        file: IO[str] | None = None,
    ):
        self.description, self.total, self.unit = description, total, unit
        self.num_done, self.num_failed = 0, 0
        self._file = file if file is not None else sys.stderr
        self._is_quiet = is_quiet
        self._start = self._last_line = time.monotonic()

        # A log file must not fill with a bar's control characters.
        is_terminal = hasattr(self._file, "isatty") and self._file.isatty()
        self._bar = (
            tqdm(total=total, desc=description, unit=unit, file=self._file, dynamic_ncols=True)
            if is_terminal and not is_quiet
            else None
        )

    def __enter__(self) -> "Progress":
        return self

    def update(self, num_done: int = 1, *, num_failed: int = 0) -> None:
        """Count units that are done.

        Args:
            num_done: How many more are done, the failed ones included.
            num_failed: How many of these failed.
        """
        self.num_done += num_done
        self.num_failed += num_failed

        if self._bar is not None:
            if num_failed:
                self._bar.set_postfix(failed=self.num_failed, refresh=False)
            self._bar.update(num_done)
        elif not self._is_quiet and time.monotonic() - self._last_line >= _PLAIN_INTERVAL_SECONDS:
            self._last_line = time.monotonic()
            print(self._line(), file=self._file, flush=True)

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
        else:
            print(self._line(), file=self._file, flush=True)

    def _line(self) -> str:
        # The clock may not have moved yet, and the rate divides by this.
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = self.num_done / seconds
        total = "?" if self.total is None else self.total

        line = (
            f"{self.description}: {self.num_done}/{total} {self.unit}s, {rate:.1f}/s, "
            f"failed {self.num_failed}"
        )

        if self.total and rate > 0 and self.num_done < self.total:
            line += f", ETA {(self.total - self.num_done) / rate:.0f} s"
        return line
