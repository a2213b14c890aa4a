"""Run an import of clips as the command does, in this process."""

from pipeline.downloads.imports.import_clips import ImportParameters, import_clips
from pipeline.media.validate import ValidationParameters


def run_import(tmp_path, clips, *sources, table_path=None, **parameters):
    return import_clips(
        [tmp_path / source for source in sources],
        clips,
        clips_dir=tmp_path / "clips",
        ledger_path=tmp_path / "attempts.jsonl",
        parameters=ImportParameters(**parameters),
        validation=ValidationParameters(),
        table_path=table_path,
        is_quiet=True,
    )
