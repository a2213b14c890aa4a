"""Cut a test off from the network."""

import pytest
import requests


def cut_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every HTTP request of the project fail at once with ``no network``."""

    def fail(*arguments: object, **options: object) -> None:
        raise requests.ConnectionError("no network")

    monkeypatch.setattr("requests.Session.get", fail)
    monkeypatch.setattr("pipeline.base.http.time.sleep", lambda seconds: None)
