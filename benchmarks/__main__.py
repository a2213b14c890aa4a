"""All benchmarks, one after the other: ``python -m benchmarks [NAME ...]``; each prints ratios within its own run."""

import subprocess
import sys

NAMES = (
    "extraction",
    "flow_context",
    "loading",
    "reruns",
    "scaling",
    "memory",
    "dvc_at_size",
    "scoring",
    "training",
)


def main(names: list[str]) -> int:
    """Run the named benchmarks (default: all) as processes of their own; the exit code of the worst."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        print(f"error: no benchmark {unknown[0]!r}; known: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    worst = 0
    for name in names or NAMES:
        print(f"== {name}", flush=True)
        worst = max(
            worst,
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode,
        )
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
