"""Commands in the order in which one needs them."""

from __future__ import annotations

import click


class InOrder(click.Group):
    """A group that lists its commands as they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)
