"""A report with a hundred samples in a real browser, for the tests of this folder."""

from unittest import mock

import pytest

from eval.report.build_report import build_report
from eval.report.data.inputs import ReportParameters, load_inputs
from eval.report.gallery import cards
from tests.helpers.scoring.browser import NUM_NEGATIVES, NUM_SAMPLES, Opened, start_browser
from tests.helpers.scoring.report_examples import write_project


@pytest.fixture(scope="module")
def browser():
    """Start a browser, or skip the test. Its event loop would disturb tests of other folders."""
    yield from start_browser()


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """A report with a fifth of the samples of a large one, and of the bytes for their pictures.

    The ids of two samples look like markup.
    """
    ids = [f"s{number:05d}" for number in range(NUM_SAMPLES)]
    ids[0] = "<img src=https://example.org/x onerror=console.error(1)>"
    ids[1] = "-a</script><script>console.error(2)</script>"
    project = write_project(
        tmp_path_factory.mktemp("browser"),
        num_samples=NUM_SAMPLES,
        num_negatives=NUM_NEGATIVES,
        ids=ids,
    )
    inputs = load_inputs(project, datasets=["sample"], models=["htf", "ezvsl"])
    with mock.patch.object(cards, "_PAGE_BYTES", cards._PAGE_BYTES // 5):
        return build_report(
            inputs, ReportParameters(num_gallery_samples=NUM_SAMPLES), project.reports_dir
        )


@pytest.fixture(scope="module")
def opened(browser, report):
    page = Opened(browser, report.page)
    yield page
    page.context.close()
