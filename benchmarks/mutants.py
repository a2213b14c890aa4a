"""Break the project on purpose, one line at a time: which test notices?

    python -m benchmarks.mutants [PART_OF_A_PATH ...]

Each mutant of ``mutants.csv`` replaces a text that occurs once in a file. It is killed if the tests
named beside it fail. One that survives means that a wrong number could pass. The checkout is not
touched: a copy of its tracked files is changed and tested, without ``../shared``. The exit code is
1 if a mutant survives, or no longer fits its file.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_TABLE_PATH = Path(__file__).with_name("mutants.csv")
_LIMIT_SECONDS = 900


@dataclass(frozen=True)
class Mutant:
    """A change that makes a number wrong, and the test that has to fail."""

    path: str
    old: str  # occurs once in the file
    new: str
    test: str  # of pytest: a file, or a test in it

    def apply(self, root: Path) -> str | None:
        """Change the file below ``root``; return what is wrong, if the mutant does not fit."""
        path = root / self.path
        if not path.is_file():
            return "the file does not exist"

        source = path.read_text()
        num_found = source.count(self.old)
        if num_found != 1:
            return f"{self.old!r} occurs {num_found} times, expected once"
        path.write_text(source.replace(self.old, self.new))
        return None


def read_mutants(parts: list[str]) -> list[Mutant]:
    """Read the table; keep mutants whose path holds one of ``parts`` (none: all)."""
    with _TABLE_PATH.open(newline="") as file:
        mutants = [Mutant(**row) for row in csv.DictReader(file)]
    return [one for one in mutants if not parts or any(part in one.path for part in parts)]


def copy_checkout(folder: Path) -> None:
    """Copy all files that git tracks."""
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=_ROOT, text=True)
    for name in names.rstrip("\0").split("\0"):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(_ROOT / name, target)


def is_killed(mutant: Mutant, root: Path) -> bool:
    """Return whether the mutant's test fails in the changed copy."""
    # Bytecode is compared by time and size: a mutant of equal length could go unnoticed.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, mutant.test],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
    )

    # 1: a test failed. Others say that pytest found no test, or could not run.
    if result.returncode not in (0, 1):
        raise SystemExit(f"{mutant.test} cannot be run:\n{result.stdout}{result.stderr}")
    return result.returncode == 1


def main() -> int:
    """Try all mutants and print what became of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART_OF_A_PATH")
    mutants = read_mutants(parser.parse_args().parts)

    num_left = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "earshot"
        copy_checkout(root)
        for mutant in mutants:
            start = time.monotonic()
            original = (root / mutant.path).read_text() if (root / mutant.path).exists() else ""
            problem = mutant.apply(root)
            if problem is None:
                problem = None if is_killed(mutant, root) else f"SURVIVES {mutant.test}"
                (root / mutant.path).write_text(original)

            num_left += problem is not None
            seconds = time.monotonic() - start
            change = f"{mutant.old!r} -> {mutant.new!r}"
            print(f"{problem or 'killed'} ({seconds:.0f} s): {mutant.path}: {change}", flush=True)

    print(f"{len(mutants) - num_left} of {len(mutants)} mutants are killed")
    return 1 if num_left else 0


if __name__ == "__main__":
    sys.exit(main())
