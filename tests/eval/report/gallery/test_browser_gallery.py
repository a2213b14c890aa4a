"""The gallery in a real browser: pictures, filters, the address, sound, print."""

from tests.helpers.scoring.browser import NUM_NEGATIVES, NUM_SAMPLES, Opened, count_matches, reset
from tests.helpers.scoring.report_examples import SHOWN_MODELS


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
    assert count_matches(page) == NUM_SAMPLES // 2
    page.get_by_label("Class", exact=True).select_option("dog & cat")
    assert count_matches(page) == 0  # it is a class of `traffic` only
    assert page.locator("#samples > li").count() == 0
    page.get_by_label("Class", exact=True).select_option("drum")
    assert 0 < count_matches(page) < NUM_SAMPLES // 2

    reset(page)
    page.get_by_label("Dataset", exact=True).select_option("sample")
    assert count_matches(page) == NUM_SAMPLES
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
    assert 0 < num_good < NUM_SAMPLES
    assert num_good + count_matches(page) == NUM_SAMPLES - NUM_NEGATIVES
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
    assert count_matches(page) == NUM_SAMPLES


def test_a_score_outside_of_0_to_1_is_not_used(opened):
    page = opened.page
    reset(page)
    page.get_by_label("Score at least").fill("2")
    assert count_matches(page) == NUM_SAMPLES
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
    assert count_matches(other) == number < NUM_SAMPLES // 2
    assert other.get_by_label("Order").input_value() == "worst"
    assert not other.get_by_role("checkbox", name="flow", exact=True).is_checked()
    assert not other.get_by_role("checkbox", name="Show boxes").is_checked()
    other.wait_for_function("document.querySelector('#gallery').getBoundingClientRect().top < 200")

    # a value that the page does not have is left out
    other.goto(report.page.as_uri() + "#gallery?subset=nowhere")
    other.reload()
    assert count_matches(other) == NUM_SAMPLES
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


def test_the_gallery_prints_what_is_shown(browser, report):
    page = Opened(browser, report.page)
    page.page.evaluate("window.print = () => { window.isPrinted = true; }")
    page.page.get_by_role("button", name="Show 12 more").click()
    page.page.get_by_role("button", name="Print with these pictures").click()
    page.page.wait_for_function("window.isPrinted")
    painted = page.page.locator("#samples canvas[data-painted]").count()
    assert painted == page.page.locator("#samples canvas").count() == 24 * (1 + len(SHOWN_MODELS))
    page.context.close()
