"""The manual as a site: each page is in the navigation, each link leads somewhere."""

import logging

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from tests.helpers.paths import ROOT


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


def test_the_site_is_built_without_a_warning(tmp_path):
    build_site(tmp_path)
    for name in ("index.html", "guides/youtube/index.html", "examples/train_your_own.py"):
        assert (tmp_path / name).is_file()
    reference = (tmp_path / "reference" / "index.html").read_text()
    assert 'id="earshot.open"' in reference and 'id="earshot.torch.Samples"' in reference


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
