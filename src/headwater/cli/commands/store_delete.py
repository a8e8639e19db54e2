"""`headwater store delete`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli import options
from headwater.cli.launched import of_one_process
from headwater.cli.text import counted, nbytes
from headwater.estimators.stored import StoreFiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@click.command(short_help="Leave training examples out of all answers.")
@options.store_folder
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option(
    "--ids-from",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="A text file with an id per line; - reads them from stdin.",
)
@click.option(
    "--compact", is_flag=True, help="Remove deleted examples from the disk, too, for good."
)
@of_one_process
def delete(store: Path, ids: Sequence[str], ids_from: Path | None, compact: bool) -> None:
    """Leave training examples out of a store's answers from now on.

    Their numbers stay on the disk until --compact, which also works alone,
    for what was deleted before. An id that isn't there is an error, and
    nothing is deleted then.

    \b
      headwater store delete grads 17 23
      headwater store delete grads --ids-from wrong.txt --compact
    """
    if ids_from is not None:
        with click.open_file(str(ids_from), encoding="utf-8") as file:
            ids = [*ids, *(line.strip() for line in file if line.strip())]
    if not ids and not compact:
        raise click.UsageError("no id is given; name some, or a file of them with --ids-from")
    files = StoreFiles(store)
    before = files.info()
    files.delete(_as_stored(ids, files.ids) if ids else [], compact=compact)
    after = files.info()
    deleted = counted(before["examples"] - after["examples"], "example")
    freed = nbytes(max(0, before["nbytes"] - after["nbytes"]))
    on_disk = f", {freed} freed" if compact else ", still on the disk until --compact"
    click.echo(f"{store}: {deleted} deleted{on_disk}; {after['examples']:,} left")


def _as_stored(texts: Iterable[str], stored: Sequence[int | str]) -> list[int | str]:
    """Ids as the store has them: a number may be one, where the shell knows only texts."""
    known = set(stored)
    return [int(text) if text not in known and _is_int(text) else text for text in texts]


def _is_int(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True
