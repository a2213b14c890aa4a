"""A page in a real browser, with all that it says and asks for."""

import shutil

import pytest

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
)
NUM_SAMPLES, NUM_NEGATIVES = 100, 6


def start_browser():
    """Yield a browser; the test is skipped where none is installed."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="needs the Python package playwright"
    )
    path = next((found for found in map(shutil.which, _BROWSERS) if found), None)
    if path is None:
        pytest.skip(f"needs a browser, none of {', '.join(_BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(_SWITCHES))
        yield started
        started.close()


class Opened:
    """A page, with all its messages and requests."""

    def __init__(self, browser, path, *, width=1440, height=900, **options):
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.page = self.context.new_page()
        self.complaints, self.requests = [], []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def outside(self):
        """Return the addresses of requests that left the file."""
        return [url for url in self.requests[1:] if not url.startswith(("data:", "blob:"))]


def count_matches(page):
    return int(page.locator("#status").text_content().split(" of ")[0])


def reset(page):
    page.get_by_role("button", name="Reset").click()
    assert count_matches(page) == NUM_SAMPLES
