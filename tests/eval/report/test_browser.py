"""The report in a real browser: no request to the outside, charts, widths, contrast, print."""

from pathlib import Path

import pytest

from tests.helpers.scoring.browser import NUM_SAMPLES, Opened
from tests.helpers.scoring.report_examples import SHOWN_MODELS

_MAX_SAMPLE_BYTES = 15_000_000 // 500


def test_500_samples_would_fit_into_15_mb(report):
    """The parts of the page that do not grow are counted, too."""
    assert report.num_gallery_samples == NUM_SAMPLES
    assert report.num_page_bytes == report.page.stat().st_size < NUM_SAMPLES * _MAX_SAMPLE_BYTES


def test_page_logs_nothing_and_requests_nothing(opened):
    opened.page.locator("#samples > li").nth(11).scroll_into_view_if_needed()
    opened.page.wait_for_timeout(200)
    assert opened.complaints == []
    assert opened.outside() == []
    assert opened.requests[0].startswith("file:")


def test_charts_say_values_and_can_be_saved(browser, report):
    fresh = Opened(browser, report.page)
    page = fresh.page
    chart = page.locator("#curves figure.chart").first
    chart.scroll_into_view_if_needed()
    box = chart.locator("svg").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    shown = page.locator(".tooltip div").all_text_contents()
    assert sorted(text.split(":")[0] for text in shown) == sorted(SHOWN_MODELS)

    with page.expect_download() as download:
        chart.get_by_role("button", name="Save as SVG").click()
    text = Path(download.value.path()).read_text()
    assert text.startswith("<svg")
    assert "var(--" not in text
    assert "cIoU threshold" in text
    # a name is not hidden by the ground around it
    silence = page.locator("#silence figure.chart").first
    with page.expect_download() as download:
        silence.get_by_role("button", name="Save as SVG").click()
    assert 'paint-order="stroke"' in Path(download.value.path()).read_text()
    with page.expect_download() as download:
        chart.get_by_role("button", name="Save as PNG").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    assert fresh.complaints == []
    assert fresh.outside() == []
    fresh.context.close()


def test_tables_can_be_downloaded(browser, report):
    fresh = Opened(browser, report.page)
    with fresh.page.expect_download() as download:
        fresh.page.get_by_role("link", name="results.csv").click()
    assert Path(download.value.path()).read_bytes() == (report.tables[1]).read_bytes()
    fresh.context.close()


def test_everything_but_the_gallery_works_without_javascript(browser, report):
    plain = Opened(browser, report.page, java_script_enabled=False)
    page = plain.page
    for name in ("#summary .opened img", "#results table", "#silence svg", "#curves svg"):
        assert page.locator(name).first.is_visible(), name
    assert page.locator("#curves .tip title").first.text_content().count(" at ") == 1
    plain.context.close()


@pytest.mark.parametrize("width", [320, 390, 768])
def test_page_never_scrolls_sideways(browser, report, width):
    narrow = Opened(browser, report.page, width=width, height=844, has_touch=True, is_mobile=True)
    page = narrow.page
    page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert narrow.complaints == []
    # what a finger must hit is big enough
    heights = page.eval_on_selector_all(
        "button:not([hidden]), select, summary", "nodes => nodes.map((n) => n.offsetHeight)"
    )
    assert min(heights) >= 24
    narrow.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser, report, scheme):
    """Every text colour of the page against the ground behind it: at least 4.5 to 1 (WCAG AA)."""
    page = Opened(browser, report.page, color_scheme=scheme)
    worst = page.page.evaluate(
        """() => {
          const parse = (text) => text.match(/[\\d.]+/g).map(Number);
          const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
            .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          const ground = (node) => {
            for (let n = node; n; n = n.parentElement) {
              const colour = parse(getComputedStyle(n).backgroundColor);
              if (colour.length === 3 || colour[3] > 0) return colour;
            }
            return [255, 255, 255];
          };
          let worst = [99, ''];
          const tags = 'h1,h2,h3,p,th,td,li,a,summary,label,span,caption,dt,dd,figcaption,button';
          for (const node of document.querySelectorAll(tags)) {
            if (!node.offsetParent || !node.textContent.trim()) continue;
            const ink = parse(getComputedStyle(node).color);
            const [a, b] = [luminance(ink), luminance(ground(node))];
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (ratio < worst[0]) worst = [ratio, node.outerHTML.slice(0, 100)];
          }
          return worst;
        }"""
    )
    assert worst[0] >= 4.5, worst
    page.context.close()


def test_printing_opens_folded_parts_and_shows_pictures(browser, report):
    page = Opened(browser, report.page)
    page.page.wait_for_function(
        "[...document.querySelectorAll('#samples canvas')].every((c) => c.dataset.painted)"
    )
    page.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.page.locator("details:not([open], .not-printed)").count() == 0
    page.page.emulate_media(media="print")
    assert not page.page.locator("form.filters").is_visible()
    assert not page.page.get_by_text("All parameters (params.yaml)").is_visible()
    assert page.page.locator("#results table").first.is_visible()
    page.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.page.locator("details:not([open])").count() > 3
    page.context.close()


def test_every_field_and_picture_has_a_name(opened):
    nameless = opened.page.evaluate(
        """() => {
          const tags = 'input, select, canvas, img:not(.heat), audio, svg[role=img], table';
          const nodes = [...document.querySelectorAll(tags)];
          const label = (node) => node.labels?.length || node.getAttribute('aria-label');
          const name = (node) => label(node) || node.alt || node.caption;
          return nodes.filter((node) => !name(node)).map((node) => node.outerHTML);
        }"""
    )
    assert nameless == []
