"""The report: one page that says what was there, what came out, how comparable it is, and how it looks.

``build_report(inputs, parameters, output_dir)`` writes it; ``load_inputs`` collects its inputs from a checkout.
"""

from eval.report.build import ReportPaths, build_report
from eval.report.inputs import DatasetInputs, ReportInputs, ReportParameters, load_inputs

__all__ = [
    "DatasetInputs",
    "ReportInputs",
    "ReportParameters",
    "ReportPaths",
    "build_report",
    "load_inputs",
]
