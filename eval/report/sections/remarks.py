"""Sentences below a table of results: what a reader could overlook.

``sections/results_tables.py`` makes the tables.
"""

from collections.abc import Mapping, Sequence

from eval.report.data.result_rows import Group, format_count, is_above_ceiling, number_of
from eval.results.files import METRICS

COMMON_TITLE = "On the samples that all models have"


def find_equal_rows(rows: Sequence[Mapping]) -> list[str]:
    """Return a sentence for each set of rows that have the same numbers."""
    names_of: dict[tuple, list[str]] = {}
    for row in rows:
        # The ceiling is nobody's map, and a row without samples has no numbers.
        if row["kind"] != "ceiling" and row.get("n"):
            values = tuple(number_of(row, name) for name in METRICS)
            names_of.setdefault(values, []).append(str(row["model"]))

    return [
        f"{', '.join(names[:-1])} and {names[-1]} have the same numbers."
        for names in names_of.values()
        if len(names) > 1
    ]


def describe_pictures(rows: Sequence[Mapping]) -> list[str]:
    """Return a sentence on IIoU and IAUC, where samples are several sounds of one picture."""
    counts = [int(row["num_pictures"]) for row in rows if row.get("num_pictures")]
    if not counts:
        return []
    # A picture with a sound that has no score is left out.
    limits = " to ".join(f"{count:,}" for count in dict.fromkeys([min(counts), max(counts)]))
    return [
        f"IIoU and IAUC are of {limits} pictures with several sounds: a picture is a success only "
        "if each of its sounds is."
    ]


def find_warnings(group: Group, *, has_common_table: bool) -> tuple[str, ...]:
    """Return what a reader of the table could overlook, one sentence each."""
    sentences = []

    # another hash of the ids means other samples
    scored = [row for row in group.rows if row.get("n") != 0]
    hashes = {row.get("ids_sha256") for row in scored if row.get("ids_sha256")}
    if len(hashes) > 1:
        remedy = (
            f"compare them under \u201c{COMMON_TITLE}\u201d."
            if has_common_table
            else "no sample was scored by all of them, so there is no table to compare them in."
        )
        sentences.append(
            "The rows were not computed on the same samples (see the sample-list hashes under "
            "\u201cHow each row was made\u201d): " + remedy
        )

    absent = [str(row["model"]) for row in group.rows if row.get("n") == 0]
    if absent:
        sentences.append(f"No sample of these was scored: {', '.join(absent)}.")

    above = [str(row["model"]) for row in group.rows if is_above_ceiling(row, group.rows)]
    if above:
        sentences.append(
            f"Above the ceiling: {', '.join(above)}. These maps have many equal values, so this "
            "protocol marks less than half of the frame; the ceiling does not apply to them."
        )

    # Results on clips that the model has seen look better than they are.
    sentences += [
        f"{row['model']} was trained on {format_count(row['leakage'])} of these test clips."
        for row in group.rows
        if (number_of(row, "leakage") or 0) > 0
    ]
    return tuple(sentences)
