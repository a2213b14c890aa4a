"""A report with 500 samples in a real browser, for the tests of this folder."""

import pytest

from eval.report.build_report import build_report
from eval.report.data.inputs import ReportParameters, load_inputs
from tests.helpers.scoring.browser import NUM_NEGATIVES, NUM_SAMPLES, Opened, start_browser
from tests.helpers.scoring.report_examples import write_project


@pytest.fixture(scope="module")
def browser():
    """Start a browser, or skip the test. Its event loop would disturb tests of other folders."""
    yield from start_browser()


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """A report with 500 gallery samples; the ids of two look like markup."""
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
    return build_report(
        inputs, ReportParameters(num_gallery_samples=NUM_SAMPLES), project.reports_dir
    )


@pytest.fixture(scope="module")
def opened(browser, report):
    page = Opened(browser, report.page)
    yield page
    page.context.close()
