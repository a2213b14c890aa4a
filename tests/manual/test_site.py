"""The manual as a site: each page is in the navigation, each link leads somewhere."""

import logging
import re
import urllib.parse

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from tests.helpers.paths import ROOT
from tests.helpers.scoring.browser import Opened, start_browser


@pytest.fixture(autouse=True)
def without_advertisement(monkeypatch):
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    monkeypatch.chdir(ROOT)


def build_site(folder, **settings) -> None:
    """Build the site as ``make docs`` does, where a warning is an error."""
    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder), **settings)
    config.plugins.on_startup(command="build", dirty=False)
    try:
        build(config)
    finally:
        config.plugins.on_shutdown()
        logging.getLogger("mkdocs").handlers.clear()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        patch.chdir(ROOT)
        folder = tmp_path_factory.mktemp("site")
        build_site(folder)
    return folder


@pytest.fixture(scope="module")
def browser():
    yield from start_browser()


def test_the_site_is_built_without_a_warning(site):
    for name in ("index.html", "guides/youtube.html", "examples/train_your_own.py"):
        assert (site / name).is_file()
    reference = (site / "reference.html").read_text()
    assert 'id="earshot.open"' in reference and 'id="earshot.torch.Samples"' in reference


def test_links_lead_to_files_where_the_pages_are_opened_as_files(site):
    links = 0
    for page in site.rglob("*.html"):
        if page.name != "404.html":  # a server sends it, for addresses anywhere
            for address in re.findall(r'(?:href|src)="([^"#]+)', page.read_text()):
                if not urllib.parse.urlsplit(address).scheme:
                    assert (page.parent / urllib.parse.unquote(address)).is_file(), (page, address)
                    links += 1
    assert links > 1000


def test_the_search_works_in_pages_that_are_opened_as_files(site, browser):
    opened = Opened(browser, site / "index.html")
    words = opened.page.locator("input.md-search__input")
    words.click()
    # The index is read now; keys that are pressed meanwhile can be lost.
    opened.page.get_by_text("Type to start searching").wait_for()
    words.press_sequentially("exclude_flags")
    found = opened.page.locator(".md-search-result__link", has_text="How to select clips").first
    found.click()
    opened.page.wait_for_url("**/datasets.html*")
    assert not [url for url in opened.requests if url.startswith("http")]
    opened.context.close()


@pytest.mark.parametrize(
    "text", ["[wrong](nowhere.md)", "[wrong](other.md#nothing)", "[wrong](../examples/none.py)"]
)
def test_a_wrong_link_is_an_error(tmp_path, text):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text(f"# Page\n\n{text}\n")
    (docs / "other.md").write_text("# Other\n")
    settings = {"docs_dir": str(docs), "nav": None, "plugins": []}
    with pytest.raises(Abort):
        build_site(tmp_path / "site", **settings)
