"""Decide when a site may get a request: pace and pauses, shared by all processes of this user.

A site counts the requests of a machine, not of a process. So the state of each host is a small file
below ``default_sites_dir()``, which every download changes under a lock. Two stages that run at the
same time share one pace. A pause that one of them starts holds for both, and for later runs.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from earshot.errors import ParameterError, RunError
from pipeline.base.locks import LockHeldError, hold_lock
from pipeline.base.parameters import build
from pipeline.downloads.parameters import DownloadParameters

Site = Literal["youtube", "loopback", "other"]
# Kind of host -> the parameter that says how many videos an hour it is asked for.
PACES: dict[Site, str] = {
    "youtube": "videos_per_hour",
    "other": "other_videos_per_hour",
    "loopback": "loopback_videos_per_hour",
}

_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_LOCK_LIMIT_SECONDS = 5.0
_PROBE_POLL_SECONDS = 1.0  # how often to look whether a probe is over
_MAX_STEP = 1.5  # of the mean step between two videos


def find_site(url: str) -> Site | None:
    """Return what kind of host a URL names; None for a file of this machine."""
    host = find_host(url)
    if host is None or host == "youtube.com":
        return None if host is None else "youtube"
    name = host.rsplit(":", 1)[0]
    return "loopback" if name in _LOOPBACK_HOSTS else "other"


def find_host(url: str) -> str | None:
    """Return the host that a URL names, for pace and pauses; None for a file of this machine.

    All names of YouTube are one host. Servers on this machine differ by their port.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:  # not an address; the worker reports it
        return ""
    if parts.scheme == "file":
        return None

    host = (parts.hostname or "").lower()
    if host in _LOOPBACK_HOSTS:
        return f"{host}:{port or 80}"
    if host in ("youtu.be", "youtube.com") or host.endswith(".youtube.com"):
        return "youtube.com"
    return host


def default_sites_dir() -> Path:
    """Return the folder of states, which all downloads of this user on this machine share."""
    return Path(tempfile.gettempdir()) / f"earshot-{os.getuid()}" / "sites"


@dataclass
class SiteState:
    """What is known about one host; times are seconds since 1970 UTC."""

    free_at: float = 0.0  # when the pace lets the next video start
    open_until: float = 0.0  # when the present pause ends, or the last one ended
    pause_seconds: float = 0.0  # how long that pause lasts
    tripped_at: float = 0.0  # when the site refused last
    num_pauses: int = 0  # in a row
    is_probing: bool = False  # after a pause one video at a time is requested
    probe_until: float = 0.0  # a probe is in progress, until then at most


class Pause(NamedTuple):
    """A pause of one host."""

    end: float  # seconds since 1970 UTC
    is_new: bool  # False: a video that was in progress was refused as well


@dataclass(frozen=True)
class SiteLimits:
    """Pace and pauses of a host."""

    per_hour: float  # videos; 0: no limit
    pause_seconds: float  # the first pause, unless the server says Retry-After
    max_pause_seconds: float
    probe_limit_seconds: float  # a probe that is not answered by then is lost

    @property
    def max_step_seconds(self) -> float:
        """The longest step between two videos."""
        return 3600.0 / self.per_hour * _MAX_STEP if self.per_hour else 0.0


class SiteGate:
    """Pace and pauses of one host.

    The steps between two starts last half to one and a half of their mean, so that requests are
    not exactly periodic. Each pause in a row lasts twice as long as the one before. After a pause
    one video at a time is requested until the site answers without refusing.
    """

    def __init__(self, limits: SiteLimits, generator: random.Random, path: Path | None = None):
        """Use the state in the file ``path``; None: a state of this process alone."""
        self._limits, self._generator, self._path = limits, generator, path
        self._own_state = SiteState()

    def seconds_to_wait(self, now: float) -> float:
        """Return how long the next video must wait."""
        with self._open(now) as state:
            return self._find_wait(state, now)

    def try_start(self, now: float) -> float:
        """Count a video that starts now; return 0, or how long it must wait instead."""
        with self._open(now) as state:
            wait_seconds = self._find_wait(state, now)
            if wait_seconds > 0:
                return wait_seconds

            if self._limits.per_hour:
                # Steps of one length would show that a machine asks. Their mean is the pace.
                mean_seconds = 3600.0 / self._limits.per_hour
                state.free_at = now + mean_seconds * self._generator.uniform(0.5, _MAX_STEP)
            # After a pause one video tries alone, and the others wait for its answer.
            if state.is_probing:
                state.probe_until = now + self._limits.probe_limit_seconds
            return 0.0

    def trip(
        self, now: float, *, started_at: float, retry_after_seconds: float | None = None
    ) -> Pause:
        """Start a pause, because the site refused a video, or extend the present pause.

        Videos that were in progress when a pause began may be refused as well. They belong to the
        same pause.

        Args:
            now: seconds since 1970 UTC.
            started_at: when the refused video was requested.
            retry_after_seconds: what the server said, None if nothing.

        Returns:
            When the pause ends, and whether it is a new one.
        """
        with self._open(now) as state:
            is_new = started_at >= state.tripped_at
            if is_new:
                # After a long silence a refusal begins a new series.
                if now > state.open_until + self._limits.max_pause_seconds:
                    state.num_pauses = 0
                state.num_pauses += 1
                state.tripped_at = now

            # Each pause of a series is twice as long. The limit of 60 keeps the power finite.
            pause = self._limits.pause_seconds * 2.0 ** min(max(state.num_pauses - 1, 0), 60)
            pause = min(pause, self._limits.max_pause_seconds)
            # Retry-After replaces our own pause. If the server refuses again after the time that it
            # named, it named too little.
            if retry_after_seconds is not None:
                pause = max(retry_after_seconds, pause if state.num_pauses > 1 else 0.0)

            self._pause(state, now, pause)
            return Pause(state.open_until, is_new)

    def restore(self, now: float, *, tripped_at: float, retry_after_seconds: float | None) -> None:
        """Continue the pause of an earlier run that the ledger records."""
        pause = self._limits.pause_seconds
        if retry_after_seconds is not None:
            pause = retry_after_seconds

        # A clock that was ahead must not stall this run for longer than the pause itself.
        end = min(tripped_at, now) + pause
        with self._open(now) as state:
            if end > now:
                state.num_pauses = max(state.num_pauses, 1)
                state.tripped_at = max(state.tripped_at, min(tripped_at, now))
                self._pause(state, now, end - now)

    def record_answer(self, now: float, *, started_at: float) -> bool:
        """End the series of pauses, because the site answered without refusing.

        Returns:
            False if the request was sent before the last refusal: then its answer does not count.
        """
        with self._open(now) as state:
            if started_at < state.tripped_at:
                return False
            state.num_pauses, state.is_probing, state.probe_until = 0, False, 0.0
            return True

    def record_doubt(self, now: float, *, started_at: float) -> None:
        """Count a result that says nothing about the site: the next video may probe it."""
        with self._open(now) as state:
            if started_at >= state.tripped_at:
                state.probe_until = 0.0

    def is_probing(self, now: float) -> bool:
        """Return whether the site has not answered since its last pause began."""
        with self._open(now) as state:
            return state.is_probing

    def _pause(self, state: SiteState, now: float, pause_seconds: float) -> None:
        if now + pause_seconds >= state.open_until:
            state.open_until, state.pause_seconds = now + pause_seconds, pause_seconds
        state.is_probing, state.probe_until = True, 0.0

    def _find_wait(self, state: SiteState, now: float) -> float:
        wait_seconds = max(state.free_at - now, state.open_until - now, 0.0)
        if state.is_probing and state.probe_until > now:
            # Nobody knows when the probe will have its answer, so look again soon.
            wait_seconds = max(wait_seconds, _PROBE_POLL_SECONDS)
        return wait_seconds

    @contextlib.contextmanager
    def _open(self, now: float) -> Iterator[SiteState]:
        """Yield the present state, and keep the changes that the body makes."""
        with self._lock():
            state = self._read()
            # Mostly nothing changes, and nothing has to be written.
            before = dataclasses.replace(state)
            self._correct(state, now)
            yield state
            if state != before:
                self._write(state)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if self._path is not None:
                lock_path = self._path.with_name(f"{self._path.name}.lock")
                try:
                    # Parallel downloads hold it for the time of reading and writing a small file.
                    stack.enter_context(hold_lock(lock_path, limit_seconds=_LOCK_LIMIT_SECONDS))
                except (OSError, RunError, LockHeldError) as error:
                    # A disk without locks, or one that is full.
                    _say_pace_is_own(f"{self._path} cannot be locked ({error})")
                    self._path = None
            yield

    def _read(self) -> SiteState:
        if self._path is None:
            return self._own_state
        try:
            self._own_state = build(SiteState, json.loads(self._path.read_bytes()), "site")
        except FileNotFoundError:
            self._own_state = SiteState()
        except (OSError, ValueError, ParameterError):
            pass  # damaged: use what this process knows
        return self._own_state

    def _write(self, state: SiteState) -> None:
        self._own_state = state
        if self._path is None:
            return
        # Renamed, so that a killed process leaves a whole file. It need not survive a power cut.
        temporary_path = self._path.with_name(f".tmp-{os.getpid()}-{self._path.name}")
        try:
            temporary_path.write_text(json.dumps(dataclasses.asdict(state)))
            os.replace(temporary_path, self._path)
        except OSError:
            # The disk is full, for example: from now on this process keeps a pace of its own.
            self._path = None

    def _correct(self, state: SiteState, now: float) -> None:
        """Shorten waits that a wrong clock made longer than they were meant."""
        state.free_at = min(state.free_at, now + self._limits.max_step_seconds)
        state.open_until = min(state.open_until, now + state.pause_seconds)
        state.tripped_at = min(state.tripped_at, now)
        state.probe_until = min(state.probe_until, now + self._limits.probe_limit_seconds)


class SiteGates:
    """The gates of all hosts, made when they are first needed."""

    def __init__(
        self,
        parameters: DownloadParameters,
        *,
        access: str,
        generator: random.Random,
        folder: Path | None,
    ):
        """Prepare gates.

        Args:
            parameters: pace and pauses.
            access: the credentials in use: with others, a site has other counts and pauses.
            generator: for the steps of the pace.
            folder: of the shared states; None: this process alone keeps them.
        """
        per_hour: dict[Site, float] = {
            site: getattr(parameters, key) for site, key in PACES.items()
        }
        self._limits = {
            site: SiteLimits(
                rate,
                parameters.pause_seconds,
                parameters.max_pause_seconds,
                probe_limit_seconds=parameters.time_limit_seconds,
            )
            for site, rate in per_hour.items()
        }

        self._access, self._generator = access, generator
        self._folder = folder
        if folder is not None and not _make_own_folder(folder):
            _say_pace_is_own(f"{folder} is not a folder of yours that can be written")
            self._folder = None
        self._gates: dict[str, SiteGate] = {}

    def find(self, url: str) -> SiteGate | None:
        """Return the gate of a URL's host; None for a file of this machine."""
        host, site = find_host(url), find_site(url)
        if host is None or site is None:
            return None
        if host not in self._gates:
            path = None
            if self._folder is not None:
                # A hash, since the words for the credentials are no name of a file.
                name = hashlib.sha256(f"{host}\n{self._access}".encode()).hexdigest()[:24]
                path = self._folder / f"{name}.json"
            self._gates[host] = SiteGate(self._limits[site], self._generator, path)
        return self._gates[host]


def _say_pace_is_own(cause: str) -> None:
    print(
        f"{cause}: this process keeps a pace of its own, beside those of other downloads; "
        "run one at a time",
        file=sys.stderr,
        flush=True,
    )


def _make_own_folder(folder: Path) -> bool:
    """Make a folder for this user alone; return whether it is ours and can be written."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # In a common folder such as /tmp another user may have made it before.
        return folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK)
    except OSError:
        return False
