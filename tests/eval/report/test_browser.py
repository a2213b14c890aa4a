"""The report in a real browser: no request to the outside, filters, pictures, sound, widths."""

import shutil
from pathlib import Path

import pytest

from eval.report.build_report import build_report
from eval.report.data.inputs import ReportParameters, load_inputs
from tests.helpers.scoring.report_examples import SHOWN_MODELS, write_project

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
_NUM_SAMPLES = 500
_MAX_PAGE_BYTES = 15_000_000


@pytest.fixture(scope="module")
def browser():
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


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report with 500 gallery samples; the ids of two look like markup."""
    ids = [f"s{number:05d}" for number in range(_NUM_SAMPLES)]
    ids[0] = "<img src=https://example.org/x onerror=console.error(1)>"
    ids[1] = "-a</script><script>console.error(2)</script>"
    project = write_project(tmp_path_factory.mktemp("browser"), num_samples=_NUM_SAMPLES, ids=ids)
    inputs = load_inputs(project, datasets=["sample"], models=["htf", "ezvsl"])
    return build_report(
        inputs, ReportParameters(num_gallery_samples=_NUM_SAMPLES), project.reports_dir
    )


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


@pytest.fixture(scope="module")
def opened(browser, report):
    page = Opened(browser, report.page)
    yield page
    page.context.close()


def count_matches(page):
    return int(page.locator("#status").text_content().split(" of ")[0])


def reset(page):
    page.get_by_role("button", name="Reset").click()
    assert count_matches(page) == _NUM_SAMPLES


def test_500_samples_fit_into_15_mb(report):
    assert report.num_gallery_samples == _NUM_SAMPLES
    assert report.num_page_bytes == report.page.stat().st_size < _MAX_PAGE_BYTES


def test_page_logs_nothing_and_requests_nothing(opened):
    opened.page.locator("#samples > li").nth(11).scroll_into_view_if_needed()
    opened.page.wait_for_timeout(200)
    assert opened.complaints == []
    assert opened.outside() == []
    assert opened.requests[0].startswith("file:")


def test_pictures_load_when_they_come_into_view(opened):
    page = opened.page
    page.evaluate("scrollTo(0, 0)")
    card = page.locator("#samples > li").first
    card.scroll_into_view_if_needed()
    page.wait_for_function(
        """() => {
          const card = document.querySelector('#samples > li');
          const images = [...card.querySelectorAll('img')];
          const canvases = [...card.querySelectorAll('canvas')];
          return images.length === 2 && images.every((image) => image.naturalWidth > 0)
            && canvases.length === 5 && canvases.every((canvas) => canvas.dataset.painted);
        }""",
        timeout=10_000,
    )

    # the frame is a picture, not a grey field, and a map differs from it
    sums = page.evaluate(
        """() => {
          const canvases = document.querySelectorAll('#samples > li:first-child canvas');
          return [...canvases].map((canvas) => {
            const { width, height } = canvas;
            const data = canvas.getContext('2d').getImageData(0, 0, width, height).data;
            const values = new Set();
            for (let i = 0; i < data.length; i += 400) {
              values.add((data[i] << 16) + (data[i + 1] << 8) + data[i + 2]);
            }
            return values.size;
          });
        }"""
    )
    assert all(num_colours > 50 for num_colours in sums)


def test_pictures_are_drawn_before_they_are_seen_but_only_those_of_shown_samples(browser, report):
    fresh = Opened(browser, report.page)
    page = fresh.page
    assert page.locator("#samples > li").count() == 12
    # a picture that is not there yet is no broken one
    hidden = page.evaluate(
        """[...document.querySelectorAll('#samples img:not([src])')]
           .map((node) => getComputedStyle(node).visibility)"""
    )
    assert set(hidden) <= {"hidden"}
    page.wait_for_function(
        "[...document.querySelectorAll('#samples canvas')].every((c) => c.dataset.painted)"
    )
    assert page.locator("canvas[data-painted]").count() == 12 * (1 + len(SHOWN_MODELS))
    fresh.context.close()


def test_filters_choose_and_reset(opened):
    page = opened.page
    reset(page)
    page.get_by_label("Subset").select_option("single")
    assert count_matches(page) == _NUM_SAMPLES // 2
    page.get_by_label("Class", exact=True).select_option("dog & cat")
    assert count_matches(page) == 0  # it is a class of `traffic` only
    assert page.locator("#samples > li").count() == 0
    page.get_by_label("Class", exact=True).select_option("drum")
    assert 0 < count_matches(page) < _NUM_SAMPLES // 2

    reset(page)
    page.get_by_label("Dataset", exact=True).select_option("sample")
    assert count_matches(page) == _NUM_SAMPLES
    page.get_by_label("Id or class contains").fill("s00042")
    assert count_matches(page) == 1
    assert page.locator("#samples > li h3").text_content() == "s00042"

    # each sample is either good or bad
    reset(page)
    page.get_by_label("Score of").select_option("ezvsl")
    page.get_by_label("Score at least").fill("0.5")
    num_good = count_matches(page)
    page.get_by_label("Score at least").fill("")
    page.get_by_label("Score at most").fill("0.499999")
    assert 0 < num_good < _NUM_SAMPLES
    assert num_good + count_matches(page) == _NUM_SAMPLES
    reset(page)


def test_order_follows_the_score(opened):
    page = opened.page
    reset(page)
    page.get_by_label("Score of").select_option("htf")
    page.get_by_label("Kind of score").select_option("ciou")
    read = """() => {
      const nodes = [...document.querySelectorAll('#samples > li')];
      return nodes.map((node) => node.card.sample.scores.htf.ciou);
    }"""

    page.get_by_label("Order").select_option("best")
    best = page.evaluate(read)
    assert best == sorted(best, reverse=True)

    page.get_by_label("Order").select_option("worst")
    worst = page.evaluate(read)
    assert worst == sorted(worst)
    assert max(worst) < min(best)
    reset(page)


def test_maps_of_a_model_can_be_hidden_and_shown(opened):
    page = opened.page
    reset(page)
    canvases = page.locator("#samples > li").first.locator("canvas")
    assert canvases.count() == 1 + len(SHOWN_MODELS)
    page.get_by_role("checkbox", name="other", exact=True).uncheck()
    assert canvases.count() == len(SHOWN_MODELS)
    page.get_by_role("checkbox", name="random", exact=True).check()
    assert canvases.count() == 1 + len(SHOWN_MODELS)
    reset(page)


def test_what_one_model_misses_and_another_finds(opened):
    page = opened.page
    reset(page)
    page.get_by_label("Model that is wrong").select_option("flow")
    page.get_by_label("Model that is right").select_option("htf")
    found = page.evaluate(
        """() => [...document.querySelectorAll('#samples > li')].map((node) => {
          const { scores } = node.card.sample;
          return [scores.flow.ciou, scores.htf.ciou];
        })"""
    )
    assert found
    assert all(flow < 0.5 <= htf for flow, htf in found)
    status = page.locator("#status").text_content()
    assert "samples match: flow wrong, htf right." in status
    page.get_by_role("button", name="Clear all filters").click()
    assert count_matches(page) == _NUM_SAMPLES


def test_a_score_outside_of_0_to_1_is_not_used(opened):
    page = opened.page
    reset(page)
    page.get_by_label("Score at least").fill("2")
    assert count_matches(page) == _NUM_SAMPLES
    assert "Scores lie between 0 and 1" in page.locator("#status").text_content()
    reset(page)


def test_the_address_has_the_state_of_the_gallery(browser, report):
    first = Opened(browser, report.page)
    page = first.page
    page.get_by_label("Subset").select_option("traffic")
    page.get_by_label("Model that is wrong").select_option("ezvsl")
    page.get_by_label("Order").select_option("worst")
    page.get_by_role("checkbox", name="flow", exact=True).uncheck()
    page.get_by_role("checkbox", name="Show boxes").uncheck()
    number, address = count_matches(page), page.evaluate("location.hash")
    assert address.startswith("#gallery?")

    # Somebody else opens the same address.
    other = first.context.new_page()
    other.goto(report.page.as_uri() + address)
    assert count_matches(other) == number < _NUM_SAMPLES // 2
    assert other.get_by_label("Order").input_value() == "worst"
    assert not other.get_by_role("checkbox", name="flow", exact=True).is_checked()
    assert not other.get_by_role("checkbox", name="Show boxes").is_checked()
    other.wait_for_function("document.querySelector('#gallery').getBoundingClientRect().top < 200")

    # a value that the page does not have is left out
    other.goto(report.page.as_uri() + "#gallery?subset=nowhere")
    other.reload()
    assert count_matches(other) == _NUM_SAMPLES
    assert first.complaints == []
    first.context.close()


def test_one_click_leads_from_the_opening_to_a_sample(browser, report):
    fresh = Opened(browser, report.page)
    link = fresh.page.locator(".opened a").first
    sample_id = link.text_content()
    link.click()
    fresh.page.wait_for_function(
        "document.querySelector('#samples').getBoundingClientRect().top < 400"
    )
    assert sample_id in fresh.page.locator("#samples > li h3").all_text_contents()
    fresh.context.close()


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


def test_the_keyboard_shows_more_samples(opened):
    page = opened.page
    reset(page)
    page.locator("#more").focus()
    page.keyboard.press("Enter")
    assert page.locator("#samples > li").count() == 24
    focused = page.evaluate(
        "[...document.querySelectorAll('#samples > li')].indexOf(document.activeElement)"
    )
    assert focused == 12
    reset(page)


def test_sound_plays(opened):
    page = opened.page
    reset(page)
    audio = page.locator("#samples > li audio").first
    audio.scroll_into_view_if_needed()
    page.wait_for_function(
        "document.querySelector('#samples > li audio').src.startsWith('data:audio')"
    )
    audio.evaluate("node => node.play()")
    page.wait_for_function(
        "document.querySelector('#samples > li audio').currentTime > 0.2", timeout=20_000
    )
    assert 2.5 < audio.evaluate("node => node.duration") < 3.5
    assert audio.evaluate("node => node.error") is None
    audio.evaluate("node => node.pause()")


def test_ids_that_try_to_be_markup_are_shown_as_text(opened):
    page = opened.page
    reset(page)
    for text in ("<img src=https://example.org/x", "-a</script><script>"):
        page.get_by_label("Id or class contains").fill(text)
        assert page.locator("#samples > li h3").text_content().startswith(text)
    assert page.locator("script").count() == 2
    assert opened.complaints == []
    assert opened.outside() == []
    reset(page)


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


def test_the_gallery_prints_what_is_shown(browser, report):
    page = Opened(browser, report.page)
    page.page.evaluate("window.print = () => { window.isPrinted = true; }")
    page.page.get_by_role("button", name="Show 12 more").click()
    page.page.get_by_role("button", name="Print with these pictures").click()
    page.page.wait_for_function("window.isPrinted")
    painted = page.page.locator("#samples canvas[data-painted]").count()
    assert painted == page.page.locator("#samples canvas").count() == 24 * (1 + len(SHOWN_MODELS))
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
