"""`headwater init`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

from headwater.cli.launched import of_one_process
from headwater.errors import InputError
from headwater.files import replacing


@click.command(short_help="Write an attribution.py to start from.")
@click.argument(
    "path", type=click.Path(path_type=Path), default=Path("attribution.py"), metavar="[FILE]"
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@of_one_process
def init(path: Path, force: bool) -> None:
    """Write an attribution.py to start from.

    It says what model, data, loss and checkpoints there are, and explains
    every name that the other commands look for. It runs as it is, on
    scikit-learn's digits (pip install 'headwater[demo]'); put your own in
    place of them.
    """
    if path.suffix != ".py":
        raise click.UsageError(f"{path} doesn't end in .py; expected the name of a Python file")
    if path.exists() and not force:
        raise InputError(
            f"{path} is there already, and was left as it is; name another file, or write over "
            f"it with --force"
        )
    if not path.resolve().parent.is_dir():
        raise InputError(f"there is no folder {path.parent}; make it first")
    template = resources.files("headwater.cli").joinpath("attribution_template.py")
    text = template.read_text(encoding="utf-8").replace("attribution.py", path.name)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    click.echo(
        f"Wrote {path}. It works as it is, on scikit-learn's digits:\n"
        f"\n"
        f"  python {path}\n"
        f"  headwater check {path}\n"
        f"  headwater self-influence {path} --top 50 --out suspects.csv\n"
        f"  headwater influence {path} --queries 0:20 --k 10\n"
        f"\n"
        f"Then put your own model, data, loss and checkpoints in place of these."
    )
