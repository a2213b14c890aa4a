"""Measure what work costs a process: CPU, time and memory."""

import multiprocessing
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

_Result = TypeVar("_Result")


class Costs(NamedTuple):
    """What some work took."""

    cpu_seconds: float
    seconds: float
    mebibytes: float  # the largest memory of the process so far


def measure(work: Callable[[], _Result]) -> tuple[Costs, _Result]:
    """Do some work in this process; return its costs, and what it returns."""
    cpu_start, start = time.process_time(), time.monotonic()
    result = work()
    cpu_seconds, seconds = time.process_time() - cpu_start, time.monotonic() - start
    return Costs(cpu_seconds, seconds, read_peak_mebibytes()), result


def measure_alone(function: Callable[..., Costs], *arguments: Any, **options: Any) -> Costs:
    """Call a function of a module in a process of its own; return the costs that it measures."""
    # A process that is spawned has no memory of this one.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments, options)


def read_peak_mebibytes(process_id: int | str = "self") -> float:
    """Return the largest memory of a process so far; 0 if it has ended.

    ``getrusage`` and ``wait4`` count the parent's memory, too.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process_id}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0
