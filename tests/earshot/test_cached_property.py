"""Properties that are computed once: no lock that a fork could copy while it is held."""

import multiprocessing
import os
import re
from threading import Event, Thread

from earshot.cached_property import cached_property
from tests.helpers.paths import ROOT


class Slow:
    """An object whose property waits for an event."""

    def __init__(self, event: Event | None = None):
        self.event, self.is_begun, self.num_computed = event, Event(), 0

    @cached_property
    def value(self) -> int:
        """The answer."""
        self.is_begun.set()
        self.num_computed += 1
        if self.event is not None:
            self.event.wait(30)
        return 42


def test_a_property_is_computed_once():
    one = Slow()
    assert (one.value, one.value, one.num_computed) == (42, 42, 1)
    assert vars(one)["value"] == 42 and Slow.value.__doc__ == "The answer."


def test_a_fork_while_a_thread_computes_does_not_hang():
    """With the standard library's of Python 3.11, scoring hung in each worker of such a fork."""
    event = Event()
    busy = Slow(event)
    thread = Thread(target=lambda: busy.value)
    thread.start()
    assert busy.is_begun.wait(30)

    worker = multiprocessing.get_context("fork").Process(target=lambda: os._exit(Slow().value))
    worker.start()
    worker.join(20)
    is_hanging = worker.is_alive()
    worker.kill()
    event.set()
    thread.join()
    assert not is_hanging and worker.exitcode == 42


def test_no_module_uses_the_one_with_a_lock():
    pattern = re.compile(r"functools\.cached_property|from functools import .*cached_property")
    folders = ("earshot", "pipeline", "eval", "train", "stages")
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    found = [
        path.name for path in paths if pattern.search(path.read_text().partition('"""\n\n')[2])
    ]
    assert len(paths) > 300 and found == []
