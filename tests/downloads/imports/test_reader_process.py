"""Files that crash what reads them, and the import that goes on."""

import contextlib
import os
import signal

import pytest

from earshot.errors import MediaError
from pipeline.downloads.imports.reader_process import ReaderProcesses


def crash(is_wanted):
    if is_wanted:
        os.kill(os.getpid(), signal.SIGSEGV)
    return os.getpid()


def refuse():
    raise MediaError("no_video", "only sound")


def test_a_crash_is_the_files_own_failure():
    with contextlib.closing(ReaderProcesses()) as processes:
        first = processes.call(crash, False)
        assert first != os.getpid()
        with pytest.raises(MediaError, match="process that read it: it was ended by SIGSEGV"):
            processes.call(crash, True)

        # The next file has a new process, which stays.
        second = processes.call(crash, is_wanted=False)
        assert second not in (first, os.getpid())
        with pytest.raises(MediaError, match="only sound"):
            processes.call(refuse)
        assert processes.call(crash, False) == second

    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)
