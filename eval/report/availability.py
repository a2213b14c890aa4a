"""What was requested and what is there: counts by split, reasons, features; every table's lines add up."""

from collections import Counter
from collections.abc import Mapping, Sequence

from earshot.tables import describe_missing
from eval.report.inputs import DatasetInputs
from eval.report.markup import Html, breakable, details, element, table
from eval.report.rows import ABSENT, format_count
from pipeline.downloads.reasons import REASONS

_NUM_LISTED = 200  # missing clips named one by one on the page; the command names them all
_NO_SPLIT = "(no split)"


def advice_of(reason: str, *, is_confirmed: bool = False) -> str:
    """Return whether another attempt is worth it, and what to do first."""
    if reason not in REASONS:
        return "unknown reason: read what was said"
    return REASONS[reason].describe(is_confirmed=is_confirmed)


def count_clips(dataset: DatasetInputs) -> list[dict]:
    """Rows ``split requested ok missing pending``: all clips, then each split. A clip without record is pending."""
    status_of = clip_status(dataset)
    clips = dataset.clips.select(["clip_id", "splits"]).to_pylist()
    counts: dict[str, Counter] = {"all": Counter()}
    for clip in clips:
        status = status_of.get(clip["clip_id"], ("pending", None, None))[0]
        for split in ("all", *(clip["splits"] or [_NO_SPLIT])):
            counts.setdefault(split, Counter())[status] += 1
    return [
        {
            "split": split,
            "requested": sum(count.values()),
            **{name: count[name] for name in ("ok", "missing", "pending")},
        }
        for split, count in counts.items()
    ]


def count_reasons(dataset: DatasetInputs) -> list[dict]:
    """``reason num_clips splits examples advice``, most frequent first."""
    splits_of = {
        row["clip_id"]: row["splits"] or []
        for row in dataset.clips.select(["clip_id", "splits"]).to_pylist()
    }
    found: dict[str, list[str]] = {}
    confirmed = _find_confirmed(dataset)
    are_confirmed: dict[str, bool] = {}  # whether each clip with that reason is confirmed
    for clip_id, (status, reason, _) in clip_status(dataset).items():
        if status != "ok" and clip_id in splits_of:
            reason = reason or "(no reason given)"
            found.setdefault(reason, []).append(clip_id)
            are_confirmed[reason] = are_confirmed.get(reason, True) and clip_id in confirmed
    rows = []
    for reason, clip_ids in sorted(found.items(), key=lambda item: (-len(item[1]), item[0])):
        splits = Counter(split for clip_id in clip_ids for split in splits_of[clip_id])
        rows.append(
            {
                "reason": reason,
                "num_clips": len(clip_ids),
                "splits": dict(splits),
                "examples": clip_ids[:3],
                "advice": advice_of(reason, is_confirmed=are_confirmed[reason]),
            }
        )
    return rows


def _find_confirmed(dataset: DatasetInputs) -> set[str]:
    if dataset.downloads is None:
        return set()
    columns = dataset.downloads.select(["clip_id", "is_confirmed"]).to_pylist()
    return {row["clip_id"] for row in columns if row["is_confirmed"]}


def clip_status(dataset: DatasetInputs) -> dict[str, tuple[str, str | None, str | None]]:
    """Status, reason and detail by clip."""
    if dataset.downloads is None:
        return {}
    confirmed = _find_confirmed(dataset)
    columns = dataset.downloads.select(["clip_id", "status", "reason", "detail"]).to_pylist()
    return {
        row["clip_id"]: (
            row["status"],
            row["reason"],
            describe_missing(row["detail"], is_confirmed=row["clip_id"] in confirmed),
        )
        for row in columns
    }


def count_features(dataset: DatasetInputs) -> list[dict]:
    """``feature requested ok missing failed absent reasons``; ``absent``: samples that the index does not name."""
    wanted = set(dataset.samples.column("sample_id").to_pylist())
    rows = []
    for feature, reader in dataset.readers.items():
        index = reader.index.select(["sample_id", "status", "reason"]).to_pylist()
        named = [row for row in index if row["sample_id"] in wanted]
        counts = Counter(row["status"] for row in named)
        reasons = Counter(row["reason"] for row in named if row["status"] == "failed")
        rows.append(
            {
                "feature": feature,
                "requested": len(wanted),
                **{name: counts[name] for name in ("ok", "missing", "failed")},
                "absent": len(wanted) - len({row["sample_id"] for row in named}),
                "reasons": dict(sorted(reasons.items(), key=lambda item: (-item[1], str(item[0])))),
            }
        )
    return rows


def render_availability(datasets: Sequence[DatasetInputs], audits: Sequence[Mapping]) -> Html:
    """The section about what is there."""
    parts = [_render_dataset(dataset) for dataset in datasets]
    if audits:
        items = [
            element("li", element("strong", str(audit["title"])), " ", str(audit["text"]))
            for audit in audits
        ]
        parts.append(element("div", element("h3", "Audits"), element("ul", items), class_="part"))
    return element("div", parts)


def _render_dataset(dataset: DatasetInputs) -> Html:
    counts = count_clips(dataset)
    parts = [
        element("h3", f"Dataset {dataset.name}"),
        table(
            ["split", "requested", "ok", "missing", "pending", "ok, %"],
            [
                [
                    row["split"],
                    *(
                        format_count(row[name])
                        for name in ("requested", "ok", "missing", "pending")
                    ),
                    f"{100 * row['ok'] / row['requested']:.1f}" if row["requested"] else ABSENT,
                ]
                for row in counts
            ],
            caption=f"Clips of {dataset.name} by split (a clip can be in several)",
        ),
    ]
    reasons = count_reasons(dataset)
    if reasons:
        parts.append(
            table(
                ["reason", "clips", "another attempt", "in splits", "for example"],
                [
                    [
                        breakable(row["reason"]),
                        format_count(row["num_clips"]),
                        row["advice"],
                        ", ".join(f"{split} {num}" for split, num in sorted(row["splits"].items()))
                        or ABSENT,
                        ", ".join(row["examples"]),
                    ]
                    for row in reasons
                ],
                caption=f"Why clips of {dataset.name} are not there",
                class_="words",
            )
        )
        parts.append(_list_missing(dataset))
    elif dataset.downloads is not None:
        parts.append(element("p", "Every requested clip is there.", class_="note"))
    features = count_features(dataset)
    if features:
        parts.append(
            table(
                [
                    "feature",
                    "samples",
                    "ok",
                    "clip missing",
                    "failed",
                    "not in the index",
                    "reasons of failures",
                ],
                [
                    [
                        row["feature"],
                        *(
                            format_count(row[name])
                            for name in ("requested", "ok", "missing", "failed", "absent")
                        ),
                        ", ".join(f"{reason} {num}" for reason, num in row["reasons"].items())
                        or ABSENT,
                    ]
                    for row in features
                ],
                caption=f"Cached features of {dataset.name}, samples",
            )
        )
    return element("div", parts, class_="part")


def _list_missing(dataset: DatasetInputs) -> Html:
    status_of = clip_status(dataset)
    rows = [
        (clip["clip_id"], *status_of[clip["clip_id"]], ", ".join(clip["splits"] or []))
        for clip in dataset.clips.select(["clip_id", "splits"]).to_pylist()
        if status_of.get(clip["clip_id"], ("ok",))[0] != "ok"
    ]
    shown = rows[:_NUM_LISTED]
    more = len(rows) - len(shown)
    command = f"python -m pipeline missing --dataset {dataset.name}"
    return details(
        f"Each clip that is not there ({format_count(len(rows))})",
        table(
            ["clip", "status", "reason", "in splits", "what was said"],
            [
                [clip_id, status, reason or ABSENT, splits or ABSENT, (detail or ABSENT)[:300]]
                for clip_id, status, reason, detail, splits in shown
            ],
            caption=f"Clips of {dataset.name} that are not there",
            class_="words",
        ),
        element("p", f"{format_count(more)} more: ", element("code", command), class_="note")
        if more > 0
        else None,
    )
