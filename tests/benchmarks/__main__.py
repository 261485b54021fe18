"""`make bench`: all benchmarks one after the other, or the one that is named."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

NAMES = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def main() -> int:
    """Run; 2 for an unknown name, else the number of missed goals (at most 1)."""
    names = sys.argv[1:] or NAMES
    if unknown := sorted(set(names) - set(NAMES)):
        print(f"BENCH must be one of {NAMES}, got {unknown[0]!r}; correct the name", file=sys.stderr)
        return 2
    sys.argv[1:] = []
    return max([import_module(f"tests.benchmarks.bench_{name}").main() for name in names])


if __name__ == "__main__":
    sys.exit(main())
