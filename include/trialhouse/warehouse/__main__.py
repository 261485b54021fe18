"""`python -m trialhouse.warehouse load|rebuild|publish`: the warehouse's upkeep by hand."""

from __future__ import annotations

import argparse
import sys

from trialhouse.errors import TrialhouseError
from trialhouse.warehouse.loader import LoadResult, load_landed, rebuild
from trialhouse.warehouse.publish import publish


def main() -> int:
    """Run one step; 0, 2 after an error of the user's, 3 if files were quarantined."""
    parser = argparse.ArgumentParser(prog="python -m trialhouse.warehouse", description=__doc__)
    parser.add_argument("step", choices=["load", "rebuild", "publish"])
    step = parser.parse_args().step
    try:
        if step == "publish":
            print(publish())
            return 0
        return _report(load_landed() if step == "load" else rebuild())
    except TrialhouseError as error:
        print(error, file=sys.stderr)
        return 2


def _report(result: LoadResult) -> int:
    print(f"loaded {result.files} files, {result.rows} rows")
    for item in result.bad_files:
        print(f"quarantined {item.path}: {item.reason}", file=sys.stderr)
    return 3 if result.quarantined else 0


if __name__ == "__main__":
    sys.exit(main())
