"""Stage ``report``: one self-contained page, and the tables for papers."""

import dataclasses

from eval.report.build_report import build_report
from eval.report.data.inputs import ReportParameters, load_inputs
from pipeline.audit.coverage import audit_coverage, describe_coverages
from pipeline.audit.leakage import audit_leakage, describe_overlaps
from pipeline.base.project import Project
from stages.common import find_all_tables, run_stage


def main(project: Project) -> None:
    """Write ``reports/``: ``index.html``, ``results.{md,csv,tex}`` and ``plots/``."""
    inputs = load_inputs(project, datasets=project.datasets, models=project.runs)

    # The stage `audit` fails on leakage; the page says what it found.
    audits = []
    for dataset in project.datasets:
        audits += describe_overlaps(audit_leakage(project, dataset))
        audits += describe_coverages(audit_coverage(project, dataset))

    paths = build_report(
        dataclasses.replace(inputs, audits=audits),
        project.parameters(ReportParameters, "report"),
        project.reports_dir,
        protocol=project.section("evaluate.main_protocol"),
        metric=project.section("evaluate.comparison_metric"),
    )
    num_megabytes = paths.num_page_bytes / 1e6
    print(
        f"{paths.page}: {num_megabytes:.1f} MB, {paths.num_gallery_samples} samples in the gallery"
    )


if __name__ == "__main__":
    run_stage(main, inputs=find_all_tables)
