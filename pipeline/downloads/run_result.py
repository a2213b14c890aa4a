"""Decide whether what a download run brought may be used."""

import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import RunError
from pipeline.base.table_filters import count_values
from pipeline.downloads.account.reasons import find_reason
from pipeline.downloads.parameters import DownloadParameters
from pipeline.downloads.stop_rule import StopRule


def check_result(
    downloads: pa.Table,
    dataset: str,
    parameters: DownloadParameters,
    stop_rule: StopRule,
    *,
    is_partial: bool,
) -> None:
    """Raise ``RunError`` if the run stopped early with clips left, or too many are missing."""
    counts = count_values(downloads["status"])

    # If every clip was attempted, a refusal is the reason of those clips, and nothing is left.
    is_complete = stop_rule.is_refused and not counts["pending"]
    if stop_rule.stop_message is not None and not is_complete:
        account = f"{counts['ok']} ok, {counts['missing']} missing, {counts['pending']} pending"
        raise RunError(
            f"{dataset}: stopped ({account}): {stop_rule.stop_message}; then run again, it goes on"
        )

    # With `only`, most clips were not attempted, so the number of missing ones says nothing.
    num_clips = downloads.num_rows
    missing = downloads.filter(pc.equal(downloads["status"], "missing"))
    reasons = count_values(missing["reason"])
    num_failed = sum(number for name, number in reasons.items() if find_reason(name).is_failure)
    if not is_partial and num_failed > parameters.max_failed_fraction * num_clips:
        words = ", ".join(f"{number} {name}" for name, number in reasons.most_common(5))
        raise RunError(
            f"{dataset}: {num_failed} of {num_clips} clips are missing ({words}), expected "
            f"at most download.max_failed_fraction ({parameters.max_failed_fraction:g})"
        )
