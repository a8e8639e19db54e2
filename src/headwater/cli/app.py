"""The command and its subcommands."""

from __future__ import annotations

import click

from headwater.cli.commands.apply import apply
from headwater.cli.commands.check import check
from headwater.cli.commands.checkpoints import checkpoints
from headwater.cli.commands.demo import demo
from headwater.cli.commands.evaluate import evaluate
from headwater.cli.commands.influence import influence
from headwater.cli.commands.init import init
from headwater.cli.commands.report import report
from headwater.cli.commands.self_influence import self_influence
from headwater.cli.commands.store import store
from headwater.cli.commands.suspects import suspects
from headwater.cli.exit_codes import EXPLAINED
from headwater.cli.in_order import InOrder
from headwater.version import __version__


@click.group(
    cls=InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog=EXPLAINED,
)
@click.version_option(__version__, message="headwater %(version)s")
def app() -> None:
    """Which training examples made my model say this?

    headwater answers by TracIn, from the checkpoints of a training run. It
    reads what it must know from a Python file of yours, attribution.py.

    \b
    Start from one that works:
      headwater init                      write attribution.py, to be changed
      python attribution.py               its example: train, in seconds
      headwater check attribution.py      is it exact? what will it cost?

    \b
    Then ask:
      headwater self-influence attribution.py --top 50 --out suspects.csv
      headwater influence attribution.py --queries 0:20 --k 10
      headwater suspects attribution.py --decisions suggested.json
      headwater report attribution.py -o report/
      headwater evaluate attribution.py   which method is right?

    \b
    In several processes, each a share of the training data:
      torchrun --nproc-per-node 4 -m headwater influence attribution.py
    """


_COMMANDS = (
    demo,
    init,
    check,
    checkpoints,
    self_influence,
    influence,
    suspects,
    apply,
    report,
    evaluate,
    store,
)
for command in _COMMANDS:
    app.add_command(command)
