"""Run the benchmarks: ``python -m benchmarks [NAME ...]``.

Each one compares two ways within its own run, because times of different machines do not compare.
``python -m benchmarks.NAME --help`` lists the options of one.
"""

import argparse
import subprocess
import sys

NAMES = (
    "exactness",
    "extraction",
    "flow_context",
    "loading",
    "reruns",
    "scaling",
    "memory",
    "fuzz",
    "ledger",
    "rehearsal.engine",
    "plan",
    "rehearsal",
    "rehearsal.local_clips",
    "dvc_at_size",
    "scoring",
    "evaluation",
    "training",
)


def main(argv: list[str] | None = None) -> int:
    """Run each named benchmark in a process of its own; return the largest exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"default: all; known: {', '.join(NAMES)}"
    )
    names = parser.parse_args(argv).names

    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}, expected one of {', '.join(NAMES)}")

    exit_code = 0
    for name in names or NAMES:
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False)
        exit_code = max(exit_code, done.returncode)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
