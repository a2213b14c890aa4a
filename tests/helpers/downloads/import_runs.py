"""Run an import of clips as the command does, in this process."""

from pipeline.downloads.account.paths import AccountPaths
from pipeline.downloads.imports.import_clips import ImportParameters, import_clips
from pipeline.media.validate import ValidationParameters


def run_import(tmp_path, clips, *sources, table_path=None, **parameters):
    return import_clips(
        [tmp_path / source for source in sources],
        clips,
        AccountPaths(tmp_path / "clips", tmp_path / "attempts.jsonl", table_path),
        parameters=ImportParameters(**parameters),
        validation=ValidationParameters(),
        is_quiet=True,
    )
