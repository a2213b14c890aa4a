"""One pace for all workers of this machine, and a circuit breaker for sites that refuse it."""

import random
import urllib.parse
from dataclasses import dataclass, field

_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def site_of(url: str) -> str | None:
    """``youtube``, ``loopback`` or ``other``: what kind of host a URL asks; None for a file of this machine."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:  # no address, which is for the worker to say
        return "other"
    if parts.scheme == "file":
        return None
    host = (parts.hostname or "").lower()
    if host in _LOOPBACK_HOSTS:
        return "loopback"
    if host in ("youtu.be", "youtube.com") or host.endswith(".youtube.com"):
        return "youtube"
    return "other"


@dataclass
class Pace:
    """Lets at most so many videos an hour start, in even steps with jitter; ``per_hour`` None or 0 sets no limit.

    The steps are half to one and a half of their mean, so that requests do not come like clockwork.
    """

    per_hour: dict[str, float | None]
    generator: random.Random
    _free_at: dict[str, float] = field(default_factory=dict)

    def seconds_to_wait(self, site: str | None, now: float) -> float:
        return max(0.0, self._free_at.get(site, 0.0) - now)

    def start(self, site: str | None, now: float) -> None:
        """Count a video that starts now."""
        rate = self.per_hour.get(site) if site else None
        if rate:
            self._free_at[site] = now + 3600.0 / rate * self.generator.uniform(0.5, 1.5)


@dataclass
class CircuitBreaker:
    """Stops all requests for a while after a bot check or a rate limit.

    The first pause lasts ``pause_seconds`` (or what the server's ``Retry-After`` says), each further one in a row twice
    as long, at most ``max_pause_seconds``. After a pause one video at a time goes out until one comes back unrefused.
    """

    pause_seconds: float
    max_pause_seconds: float
    num_pauses: int = 0  # in a row
    open_until: float = 0.0
    is_probing: bool = False

    def trip(self, now: float, *, retry_after_seconds: float | None = None) -> float:
        """Pause from ``now``; return until when. Refusals of videos that were under way belong to the same pause."""
        if now >= self.open_until:
            self.num_pauses += 1
        pause = min(self.pause_seconds * 2 ** (self.num_pauses - 1), self.max_pause_seconds)
        if retry_after_seconds is not None:
            pause = retry_after_seconds
        self.open_until = max(self.open_until, now + pause)
        self.is_probing = True
        return self.open_until

    def succeed(self, now: float) -> None:
        """A site answered without refusing: a video under way when the breaker tripped proves nothing."""
        if now >= self.open_until:
            self.num_pauses, self.is_probing = 0, False

    def seconds_to_wait(self, now: float) -> float:
        return max(0.0, self.open_until - now)
