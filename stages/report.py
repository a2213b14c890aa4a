"""``report``: one self-contained page, and the tables for papers."""

import dataclasses

from eval.report.build_report import build_report
from eval.report.inputs import ReportParameters, load_inputs
from pipeline.audit.coverage import audit_coverage, describe_coverages
from pipeline.audit.leakage import audit_leakage, describe_overlaps
from pipeline.base.project import Project
from stages.common import run_stage


def main(project: Project) -> None:
    """Write ``reports/index.html``, ``results.md``, ``results.csv``, ``results.tex`` and ``plots/``."""
    inputs = load_inputs(project, datasets=project.datasets, models=project.runs)
    audits = [
        note
        for dataset in project.datasets
        for note in (
            *describe_overlaps(audit_leakage(project, dataset)),
            *describe_coverages(audit_coverage(project, dataset)),
        )
    ]
    inputs = dataclasses.replace(inputs, audits=audits)
    paths = build_report(
        inputs,
        project.parameters(ReportParameters, "report"),
        project.reports_dir,
        protocol=project.section("evaluate.main_protocol"),
        metric=project.section("evaluate.comparison_metric"),
    )
    print(
        f"{paths.page}: {paths.num_page_bytes / 1e6:.1f} MB, {paths.num_gallery_samples} samples in the gallery"
    )


if __name__ == "__main__":
    run_stage(main)
