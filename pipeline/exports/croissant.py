"""Croissant metadata of an export: JSON-LD that search engines and ``mlcroissant`` read.

The format is https://docs.mlcommons.org/croissant/docs/croissant-spec.html, version 1.0.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.exports.parameters import AUDIO
from pipeline.exports.summary import Summary

_MIME_TYPES = {"webdataset": "application/x-tar", "huggingface": "application/x-parquet"}
_NUMBERS = {"time_seconds"}  # the other columns of the account are text
_SPEC = "http://mlcommons.org/croissant"
_EARSHOT = "Earshot"
# As the specification gives it.
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": f"{_SPEC}/",
    "rai": f"{_SPEC}/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def describe_croissant(
    summary: Summary,
    *,
    account_name: str,
    account_columns: Mapping[str, str],
    account_bytes: int,
    account_sha256: str,
) -> dict[str, Any]:
    """Return the metadata.

    Args:
        summary: The export.
        account_name: The file with a row for each sample, which becomes the record set.
        account_columns: Its columns, and what they mean.
        account_bytes: Its size.
        account_sha256: Its hash.
    """
    # Records are read from this one file. It is the same in all formats of an export, and text, so
    # that no reader has to open tar or Parquet files.
    account = {
        "@type": "cr:FileObject",
        "@id": account_name,
        "name": account_name,
        "description": "A row for each sample, also for those that are missing.",
        "contentUrl": account_name,
        "contentSize": f"{account_bytes} B",
        "encodingFormat": "text/csv",
        "sha256": account_sha256,
    }

    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": f"{_SPEC}/1.0",
        "name": f"{summary.dataset}_{summary.parameters.format}",
        "description": _describe_in_words(summary),
        "license": _list_licences(summary),
        # The specification requires a licence, an address and a creator. The files of users have
        # none, so texts stand in for them.
        "url": summary.sources[0].url if summary.sources else "https://example.org/unknown",
        "creator": [
            {"@type": "sc:Organization", "name": source.name, "url": source.url}
            for source in summary.sources
        ]
        or [{"@type": "sc:Organization", "name": "the owner of the videos"}],
        "publisher": {"@type": "sc:Organization", "name": _EARSHOT},
        # Three numbers, as the specification asks for; mlcroissant warns about other versions.
        "version": "1.0.0",
        "datePublished": datetime.now(UTC).strftime("%Y-%m-%d"),
        "citeAs": "Cite the papers whose lists, boxes and videos are used; see DATASHEET.md.",
        "distribution": [account, *_list_data(summary)],
        "recordSet": [_describe_records(account_name, account_columns)],
    }


def _describe_in_words(summary: Summary) -> str:
    reasons = ", ".join(f"{reason} ({count})" for reason, count in summary.count_reasons().items())
    return (
        f"{len(summary.rows)} samples for visual sound source localization; "
        f"{summary.num_exported} are in this export. Missing: {reasons or 'nothing'}. "
        "DATASHEET.md says more."
    )


def _list_licences(summary: Summary) -> list[str]:
    stated = [f"{source.name} ({source.url}): {source.licence}" for source in summary.sources]
    if summary.parameters.licence is not None:
        stated.append(summary.parameters.licence)
    return stated or ["not stated"]


def _list_data(summary: Summary) -> list[dict[str, Any]]:
    """Return the shards with their hashes; single files by pattern, as there are too many."""
    mime_type = _MIME_TYPES.get(summary.parameters.format)

    # The format `files` has several files a sample, so a pattern stands for those of a feature.
    if mime_type is None:
        return [_describe_folder(summary, name) for name in summary.features]

    return [
        {
            "@type": "cr:FileObject",
            "@id": file.path,
            "name": file.path,
            "contentUrl": file.path,
            "contentSize": f"{file.num_bytes} B",
            "encodingFormat": mime_type,
            "sha256": file.sha256,
        }
        for shard in summary.shards
        for file in shard.files
    ]


def _describe_folder(summary: Summary, feature: str) -> dict[str, Any]:
    # All files of a feature are of one kind, so the first one tells it.
    paths = (file.path for shard in summary.shards for file in shard.files)
    suffix = next(path.rsplit(".", 1)[1] for path in paths if path.startswith(f"{feature}/"))
    mime_types = {"jpg": "image/jpeg", "png": "image/png", "wav": "audio/wav"}
    what = "the whole sound of the clip" if feature == AUDIO else f"the feature {feature}"

    return {
        "@type": "cr:FileSet",
        "@id": feature,
        "name": feature,
        "description": f"A file for each sample: {what}.",
        # There is no registered type for NPY.
        "encodingFormat": mime_types.get(suffix, "application/octet-stream"),
        "includes": f"{feature}/*.{suffix}",
    }


def _describe_records(account_name: str, columns: Mapping[str, str]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "key": {"@id": "samples/sample_id"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"samples/{name}",
                "name": f"samples/{name}",
                "description": meaning,
                # A CSV file has no types; mlcroissant converts the text to the one that is named
                # here.
                "dataType": "sc:Float" if name in _NUMBERS else "sc:Text",
                "source": {"fileObject": {"@id": account_name}, "extract": {"column": name}},
            }
            for name, meaning in columns.items()
        ],
    }
