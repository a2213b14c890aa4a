"""Keep the waiting videos, so that no site waits for another one.

Each host has a queue of its own. While a site pauses, or its pace lets nothing start, the videos
of other sites and the files of this machine go on.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.downloads.account.history import History
from pipeline.downloads.sites import find_host


@dataclass(order=True, slots=True)
class VideoTask:
    """A video to fetch and the clips wanted from it."""

    due: float  # seconds since 1970 UTC
    index: int  # place in the list: among due videos the first goes first
    url: str = field(compare=False)
    histories: list[History] = field(compare=False)


class VideoQueue:
    """Videos by host; of one host, the one that is due first comes first."""

    def __init__(self, tasks: Iterable[VideoTask] = ()):
        self._heaps: dict[str | None, list[VideoTask]] = {}
        self._num_tasks = 0
        for task in tasks:
            self.push(task)

    def __len__(self) -> int:
        return self._num_tasks

    def __iter__(self) -> Iterator[VideoTask]:
        """Yield all videos, in no particular order."""
        for heap in self._heaps.values():
            yield from heap

    def push(self, task: VideoTask) -> None:
        """Add a video."""
        heapq.heappush(self._heaps.setdefault(find_host(task.url), []), task)
        self._num_tasks += 1

    def list_first(self) -> list[tuple[str | None, VideoTask]]:
        """Return each host with its first video; the one that is due first comes first.

        Files of this machine have the host None.
        """
        firsts = [(host, heap[0]) for host, heap in self._heaps.items()]
        return sorted(firsts, key=lambda pair: pair[1])

    def pop(self, host: str | None) -> VideoTask:
        """Remove and return the first video of a host that has one."""
        heap = self._heaps[host]
        task = heapq.heappop(heap)
        if not heap:
            del self._heaps[host]
        self._num_tasks -= 1
        return task

    def remove(self, url: str) -> None:
        """Remove a video if it waits here."""
        host = find_host(url)
        heap = self._heaps.get(host, [])
        # Taking a video out of the middle breaks the order of the heap, which is made again below.
        kept = [task for task in heap if task.url != url]
        self._num_tasks -= len(heap) - len(kept)

        if kept:
            heapq.heapify(kept)
            self._heaps[host] = kept
        else:
            self._heaps.pop(host, None)
