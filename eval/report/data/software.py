"""Which code a page comes from: versions, the commit, and the hash of the requirements."""

import hashlib
import platform
import subprocess
import tomllib
from pathlib import Path


def describe_software(root: Path) -> dict[str, str]:
    """Return what identifies the code of a checkout; what is not known is left out.

    Args:
        root: The checkout.
    """
    found = {"Python": platform.python_version()}
    project = root / "pyproject.toml"
    if project.is_file():
        found["Earshot"] = str(
            tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
        )

    commit = _run_git(root, "rev-parse", "--short=12", "HEAD")
    if commit:
        # A run writes dvc.lock itself, and files that git does not know decide nothing.
        changes = _run_git(root, "status", "--porcelain", "-uno", "--", ".", ":!dvc.lock")
        found["commit"] = f"{commit}, with changes that are not committed" if changes else commit

    # The file names each package with its version, so its hash stands for the environment.
    requirements = root / "requirements.txt"
    if requirements.is_file():
        digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
        found["requirements.txt"] = f"SHA-256 {digest[:16]}"
    return found


def _run_git(root: Path, *arguments: str) -> str:
    """Return what git says; nothing where there is no git, or no repository of its own."""
    # Inside another repository, git would answer for that one.
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
