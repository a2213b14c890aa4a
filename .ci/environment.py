"""Make the virtual environment of a checkout: ``python3 .ci/environment.py .venv requirements.txt``.

Runs on a bare interpreter (standard library only), also where the system's Python comes without ``ensurepip`` (Debian
without python3-venv): pip is then fetched from the package index by its pinned hash. Does nothing when the environment
already fits the requirements.
"""

import hashlib
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path

OLDEST_PYTHON = (3, 11)
PIP_URL = (
    "https://files.pythonhosted.org/packages/b7/3f/945ef7ab14dc4f9d7f40288d2df998d1837ee0888ec3659c813487572faa/"
    "pip-25.2-py3-none-any.whl"
)
PIP_SHA256 = "6d67a2b4e7f14d8b31b8b52648866fa717f45a1eb70e83002f4331d07e953717"


def make_environment(environment_dir: Path, requirements_path: Path) -> None:
    """Create ``environment_dir`` with exactly the pinned packages of ``requirements_path``."""
    stamp_path = environment_dir / ".requirements.sha256"
    stamp = hashlib.sha256(requirements_path.read_bytes()).hexdigest()
    if stamp_path.exists() and stamp_path.read_text() == stamp:
        return
    python_path = environment_dir / "bin" / "python"
    if not _has_pip(python_path):
        _create(environment_dir)
    print(
        f"installing {requirements_path} into {environment_dir} (with PyTorch several GB and minutes)",
        flush=True,
    )
    subprocess.run(
        [
            python_path,
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "-q",
            "-r",
            requirements_path,
        ],
        check=True,
    )
    stamp_path.write_text(stamp)


def _has_pip(python_path: Path) -> bool:
    if not python_path.exists():
        return False
    return (
        subprocess.run([python_path, "-m", "pip", "--version"], capture_output=True).returncode == 0
    )


def _create(environment_dir: Path) -> None:
    try:
        import ensurepip  # noqa: F401  (Debian splits it off)

        venv.create(environment_dir, with_pip=True, clear=True)
    except (ImportError, subprocess.CalledProcessError):
        venv.create(environment_dir, with_pip=False, clear=True)
        with tempfile.TemporaryDirectory() as folder:
            wheel_path = Path(folder) / PIP_URL.rsplit("/", 1)[1]
            with urllib.request.urlopen(PIP_URL, timeout=60) as response:
                wheel = response.read()
            found = hashlib.sha256(wheel).hexdigest()
            if found != PIP_SHA256:
                raise SystemExit(
                    f"error: {PIP_URL} has sha256 {found}, expected {PIP_SHA256}"
                ) from None
            wheel_path.write_bytes(wheel)
            python_path = environment_dir / "bin" / "python"
            # A wheel is a zip archive that Python can run pip from.
            subprocess.run(
                [python_path, wheel_path / "pip", "install", "-q", wheel_path], check=True
            )


def main() -> None:
    """Entry point of the Makefile."""
    if sys.version_info < OLDEST_PYTHON:
        wanted, found = ".".join(map(str, OLDEST_PYTHON)), ".".join(map(str, sys.version_info[:3]))
        raise SystemExit(
            f"error: Python {found} ({sys.executable}), expected {wanted} or newer; set PYTHON=/path/to/python"
        )
    environment_dir, requirements_path = map(Path, sys.argv[1:3])
    try:
        make_environment(environment_dir, requirements_path)
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"error: {' '.join(map(str, error.cmd))} failed with exit code {error.returncode}"
        ) from None
    except OSError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
