"""Run the demo: `python -m headwater.demo [--out FOLDER]`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from headwater.demo.console import summary
from headwater.demo.run import run
from headwater.demo.settings import Settings
from headwater.errors import MissingDependencyError

FILES = {
    "report.html": "the findings with pictures: open it in a browser",
    "self_influence.csv": "the training set, most suspicious label first",
    "explanations.csv": "proponents and opponents of the explained test images",
    "checkpoints": "the weights and learning rates they were computed from",
    "attribution.py": "this run for the command `headwater`, to ask on",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo, print what it found and where the files are, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m headwater.demo",
        description="Find flipped labels and explain predictions on real images.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo-output"),
        metavar="FOLDER",
        help="where the results go (default: %(default)s)",
    )
    out: Path = parser.parse_args(arguments).out
    try:
        run_and_tell(out)
    except MissingDependencyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run_and_tell(out: Path) -> None:
    """Run the demo, and print what it found and where the files are.

    Raises:
        MissingDependencyError: scikit-learn isn't installed.
    """
    start = time.perf_counter()
    results = run(Settings(), out)
    print(f"\n{summary(results)}\n")
    print(f"Done in {time.perf_counter() - start:.0f} s. Written:")
    for name, meaning in FILES.items():
        print(f"  {out / name!s:34}  {meaning}")


if __name__ == "__main__":
    sys.exit(main())
