"""Where the clips of a dataset and their account are."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.base.project import Project


@dataclass(frozen=True)
class AccountPaths:
    """The files of one dataset's account."""

    clips_dir: Path
    ledger_path: Path  # of all attempts
    # Of the DOWNLOADS rows, and of the copy of the ledger that travels. None: neither is written.
    table_path: Path | None = None
    copy_path: Path | None = None

    @classmethod
    def find(cls, project: Project, dataset: str) -> "AccountPaths":
        """Return those of a dataset of a checkout."""
        return cls(
            project.clips_dir(dataset),
            project.ledger_path(dataset),
            project.downloads_table_path(dataset),
            project.ledger_copy_path(dataset),
        )
