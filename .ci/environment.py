"""Make the environment of a checkout: ``python3 .ci/environment.py .venv requirements.txt``.

Does nothing when the environment already has these requirements. Needs the standard library only,
and works where the system's Python lacks ``ensurepip`` (Debian without python3-venv): it then
fetches pip from the package index and checks its hash.

pip installs uv, and uv the rest: it needs about a fifth of pip's time. When uv fails, pip installs
everything. Both find proxies and certificates in the usual variables (``HTTPS_PROXY``,
``SSL_CERT_FILE``, ...).
"""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path

OLDEST_PYTHON = (3, 11)
PIP_URL = (
    "https://files.pythonhosted.org/packages/b7/3f/"
    "945ef7ab14dc4f9d7f40288d2df998d1837ee0888ec3659c813487572faa/pip-25.2-py3-none-any.whl"
)
PIP_SHA256 = "6d67a2b4e7f14d8b31b8b52648866fa717f45a1eb70e83002f4331d07e953717"
# Sites change monthly, so these are not held at their pins: `make update-downloader`.
DOWNLOADER = ("yt-dlp", "yt-dlp-ejs", "deno", "curl-cffi")
DOWNLOADER_NAME = ".downloader.txt"  # their versions, beside the stamp of the pins
UV_TIMEOUT_SECONDS = 180  # of one silence; its default of 30 is short for wheels of 500 MB


def make_environment(environment_dir: Path, requirements_path: Path) -> None:
    """Create ``environment_dir`` with the packages of ``requirements_path``.

    Raises:
        subprocess.CalledProcessError: pip failed; its own message is on stderr.
    """
    # The stamp is written last, so an interrupted installation is repeated.
    stamp_path = environment_dir / ".requirements.sha256"
    stamp = hashlib.sha256(requirements_path.read_bytes()).hexdigest()
    if stamp_path.exists() and stamp_path.read_text() == stamp:
        return

    python_path = environment_dir / "bin" / "python"
    if not has_pip(python_path):
        create_environment(environment_dir)
    print(
        f"installing {requirements_path} into {environment_dir} "
        "(several GB with PyTorch, takes minutes)",
        flush=True,
    )

    try:
        install_with_uv(python_path, requirements_path)
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"uv did not install the packages ({error}); pip installs them", flush=True)
        install_with_pip(python_path, requirements_path)

    # Newer tools of downloads stay, although the pins were installed again.
    downloader_path = environment_dir / DOWNLOADER_NAME
    if downloader_path.exists():
        install_with_pip(python_path, downloader_path)
    stamp_path.write_text(stamp)


def update_downloader(environment_dir: Path) -> None:
    """Install the newest yt-dlp, with its solver, JavaScript runtime and impersonation.

    All other packages keep their versions where yt-dlp allows it. The versions are written beside
    the stamp of the pins, and survive a later change of the pins.
    """
    python_path = environment_dir / "bin" / "python"
    uv_path = python_path.with_name("uv")
    newest = [word for name in DOWNLOADER for word in ("--upgrade-package", name)]
    command = [uv_path, "pip", "install", "-q", "--python", python_path, *newest]
    subprocess.run([*command, "yt-dlp[default,deno,curl-cffi]"], check=True)

    freeze = [uv_path, "pip", "freeze", "--python", python_path]
    lines = subprocess.run(freeze, capture_output=True, check=True).stdout.decode().splitlines()
    found = [line for line in lines if line.partition("==")[0].lower() in DOWNLOADER]
    (environment_dir / DOWNLOADER_NAME).write_text("\n".join(found) + "\n")
    print("installed " + ", ".join(found))


def install_with_uv(python_path: Path, requirements_path: Path) -> None:
    """Install the pinned uv with pip, then all requirements with uv.

    Python writes bytecode when it first imports a module. Where it may not
    (``PYTHONDONTWRITEBYTECODE``, as in many containers), each start of PyTorch and Lightning takes
    twice as long, and a run starts them dozens of times: all is compiled here.
    """
    pins = re.findall(r"^uv==(?:.*\\\n)*.*\n", requirements_path.read_text(), re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        uv_requirement_path = Path(folder) / "uv.txt"
        uv_requirement_path.write_text("".join(pins))
        install_with_pip(python_path, uv_requirement_path)

    uv_path = python_path.with_name("uv")
    options = ["--compile-bytecode"] if sys.dont_write_bytecode else []
    options += ["-q", "--python", python_path, "-r", requirements_path]
    subprocess.run(
        [uv_path, "pip", "install", *options],
        env={"UV_HTTP_TIMEOUT": str(UV_TIMEOUT_SECONDS), **os.environ},
        check=True,
    )


def install_with_pip(python_path: Path, requirements_path: Path) -> None:
    """Install all requirements with pip."""
    options = ["--disable-pip-version-check", "-q", "-r", requirements_path]
    subprocess.run([python_path, "-m", "pip", "install", *options], check=True)


def install_checkout(environment_dir: Path, checkout: Path) -> None:
    """Make `earshot` a command of the environment, which runs the code of this checkout.

    An environment outside of the checkout may serve several checkouts, so it gets no such command.
    """
    script_path = environment_dir / "bin" / "earshot"
    if script_path.exists() or not environment_dir.resolve().is_relative_to(checkout.resolve()):
        return
    command = [environment_dir / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    # All that building needs is there: nothing is fetched.
    options = ["-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "install", *options, "-e", checkout], check=True)


def install_atomic_dvc(environment_dir: Path) -> None:
    """Let the DVC of the environment replace its files in one step (see ``dvc_atomic.py``)."""
    source = Path(__file__).with_name("dvc_atomic.py").read_text()
    for folder in environment_dir.glob("lib/python3*/site-packages"):
        for name, text in (
            ("earshot_dvc_atomic.py", source),
            ("earshot_dvc_atomic.pth", "import earshot_dvc_atomic\n"),
        ):
            path = folder / name
            if not path.exists() or path.read_text() != text:
                unfinished_path = path.with_suffix(".unfinished")
                unfinished_path.write_text(text)
                unfinished_path.replace(path)


def has_pip(python_path: Path) -> bool:
    """Return whether there is an interpreter that has pip."""
    if not python_path.exists():
        return False
    command = [python_path, "-m", "pip", "--version"]
    return subprocess.run(command, capture_output=True).returncode == 0


def create_environment(environment_dir: Path) -> None:
    """Create a virtual environment that has pip, in place of what is there."""
    # Debian has a package of its own for ensurepip.
    if importlib.util.find_spec("ensurepip") is not None:
        try:
            venv.create(environment_dir, with_pip=True, clear=True)
            return
        except subprocess.CalledProcessError:
            pass  # an ensurepip without its wheels

    venv.create(environment_dir, with_pip=False, clear=True)
    with tempfile.TemporaryDirectory() as folder:
        wheel_path = Path(folder) / PIP_URL.rsplit("/", 1)[1]
        wheel_path.write_bytes(fetch_pip())
        python_path = environment_dir / "bin" / "python"
        # A wheel is a zip archive that Python can run pip from.
        subprocess.run([python_path, wheel_path / "pip", "install", "-q", wheel_path], check=True)


def fetch_pip() -> bytes:
    """Return the wheel of pip; exit when it is not the one with the pinned hash."""
    with urllib.request.urlopen(PIP_URL, timeout=60) as response:
        wheel = response.read()
    digest = hashlib.sha256(wheel).hexdigest()
    if digest != PIP_SHA256:
        raise SystemExit(f"error: {PIP_URL} has sha256 {digest}, expected {PIP_SHA256}")
    return wheel


def main() -> None:
    """Run as the Makefile does; errors become one line."""
    if sys.version_info < OLDEST_PYTHON:
        version = ".".join(map(str, sys.version_info[:3]))
        raise SystemExit(
            f"error: Python {version} ({sys.executable}), expected "
            f"{'.'.join(map(str, OLDEST_PYTHON))} or newer; set PYTHON=/path/to/python"
        )

    environment_dir, requirements_path = map(Path, sys.argv[1:3])
    try:
        make_environment(environment_dir, requirements_path)
        install_atomic_dvc(environment_dir)
        install_checkout(environment_dir, requirements_path.parent)
        if "--update-downloader" in sys.argv[3:]:
            update_downloader(environment_dir)
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd))
        raise SystemExit(f"error: {command} failed with exit code {error.returncode}") from None
    except OSError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
