"""The datasheet of an export: sources, licences, coverage, what is missing and why."""

from collections.abc import Iterable, Sequence

from pipeline.exports.parameters import AUDIO
from pipeline.exports.summary import Summary

_UNKNOWN_LICENCE = "The files are those of the one who made this export, who stated no licence."
_FORMATS = {
    "webdataset": "tar files for WebDataset (`shards/`); `splits/` lists those of each split",
    "huggingface": 'Parquet files (`data/`) for `datasets.load_dataset("FOLDER")`',
    "files": "one file for each feature of each sample; `splits/` lists the ids of each split",
}


def write_datasheet(summary: Summary) -> str:
    """Return the text, as Markdown."""
    sections = [
        f"# Datasheet of {summary.dataset}",
        _write_purpose(summary),
        "## Sources and licences",
        _write_sources(summary),
        "## Coverage",
        _write_coverage(summary),
        "## What is missing, and why",
        _write_missing(summary),
        "## Content of a sample",
        _write_features(summary),
        "## Beware",
        _write_cautions(summary),
    ]
    return "\n\n".join(sections) + "\n"


def _write_purpose(summary: Summary) -> str:
    return (
        f"{len(summary.rows)} samples for visual sound source localization: a sample is a moment "
        f"of a video clip, with its sound. {summary.num_exported} of them are in this export, "
        f"which Earshot made as {_FORMATS[summary.parameters.format]}. `samples.csv` has a row for "
        "every sample, also for those that are missing. `export.json` has the hash of every file."
    )


def _write_sources(summary: Summary) -> str:
    lines = [f"- [{source.name}]({source.url}): {source.licence}." for source in summary.sources]
    if summary.parameters.licence is not None:
        lines.append(f"- The one who made this export states: {summary.parameters.licence}")
    elif not summary.sources:
        lines.append(f"- {_UNKNOWN_LICENCE}")

    lines.append(
        "- Frames and sounds are parts of the videos and have the rights of the videos. Lists and "
        "boxes have those of their authors."
    )
    return "\n".join(lines)


def _write_coverage(summary: Summary) -> str:
    # Splits are counted by their samples, so none is empty; an export without samples is refused.
    # Nothing here divides by zero.
    rows = [
        (f"`{name}`", listed, written, f"{100 * written / listed:.1f} %")
        for name, (listed, written) in summary.count_splits().items()
    ]

    # Not the sum of the splits: a sample in several of them counts once.
    total = len(summary.rows)
    share = f"{100 * summary.num_exported / total:.1f} %"
    rows.append(("all", total, summary.num_exported, share))
    table = _make_table(("split", "samples", "in this export", "share"), rows)

    num_boxed = sum(bool(row["boxes"]) for row in summary.rows)
    num_labelled = sum(row["label"] is not None for row in summary.rows)
    return (
        f"{table}\n\nA sample can be in several splits. {num_boxed} samples have boxes, "
        f"{num_labelled} have a label."
    )


def _write_missing(summary: Summary) -> str:
    reasons = summary.count_reasons()
    if not reasons:
        return "Nothing is missing."

    rows = [(f"`{reason}`", count) for reason, count in reasons.items()]
    table = _make_table(("reason", "samples"), rows)
    return (
        "A sample is left out if it lacks one of the features below. The first lack counts; "
        f"`samples.csv` says it in a sentence for each sample.\n\n{table}"
    )


def _write_features(summary: Summary) -> str:
    rows = []
    for name, attributes in summary.features.items():
        parameters = attributes.get("parameters", "")
        # The sound of a clip is decoded for the export, so no shard describes it.
        units = "whole sound of the clip, mono" if name == AUDIO else attributes.get("units", "")
        rows.append((f"`{name}`", units, f"`{parameters}`" if parameters else ""))
    return _make_table(("feature", "units", "computed with"), rows)


def _write_cautions(summary: Summary) -> str:
    lines = []

    if summary.parameters.pictures == "jpg":
        lines.append(
            "- Frames are JPEG (quality 95): they differ a little from those that Earshot's own "
            "models see. An export with `--pictures png` keeps every bit."
        )

    if any(split_count[0] != split_count[1] for split_count in summary.count_splits().values()):
        lines.append(
            "- Results on a split that is not complete cannot be compared with published ones "
            "without saying so."
        )

    if any(row["audio_clip_id"] for row in summary.rows):
        lines.append(
            "- Some samples have the sound of another clip (`audio_clip_id`): they are negatives, "
            "and nothing in their picture makes that sound."
        )

    lines.append("- Some published training lists hold test clips. Compare the splits first.")
    return "\n".join(lines)


def _make_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    # A bar inside a cell would end it.
    cells = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
