"""`headwater demo`."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.cli.launched import of_one_process
from headwater.demo.__main__ import run_and_tell


@click.command(short_help="Find wrong labels in real images: the library at work.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-output"),
    show_default=True,
    metavar="FOLDER",
    help="Where the results go.",
)
@of_one_process
def demo(out: Path) -> None:
    """Find wrong labels in real images, and explain predictions: a minute.

    A small network learns scikit-learn's handwritten digits, a tenth of whose
    training labels were flipped. Needs pip install 'headwater[demo]'.

    The folder then holds a report, tables, checkpoints, and an attribution.py
    for the other commands:

    \b
      headwater demo
      headwater influence demo-output/attribution.py --queries 0:3 --k 5
    """
    run_and_tell(out)
