"""What `headwater check` found out, as text and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.text import aligned, counted, duration, nbytes, wrapped

if TYPE_CHECKING:
    from headwater.check import Exactness, Layers
    from headwater.cli.predictions import Prediction
    from headwater.engine import WorkPlan

_FEW_LAYERS = 8
_PROJECTED = 512


@dataclass(frozen=True)
class ReportOfCheck:
    """The findings.

    Attributes:
        examples: the number of training examples N.
        queries: the number of queries Q that costs are predicted for.
        checkpoints: the number of checkpoints C.
        exactness: of a few scores.
        layers: how gradients are captured.
        predictions: what commands will take; None if that was left out.
        projection: the projection that the file asks for; None without.
        plan: how the work of the queries' scores is divided within `memory_budget`.
        ranks: over how many processes the model is sharded; 1: it isn't.
    """

    examples: int
    queries: int
    checkpoints: int
    exactness: Exactness
    layers: Layers
    predictions: list[Prediction] | None
    projection: str | None
    plan: WorkPlan
    ranks: int = 1

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON; times in seconds, sizes in bytes."""
        found = self.exactness
        return {
            "training_examples": self.examples,
            "queries": self.queries,
            "checkpoints": self.checkpoints,
            "ranks_of_a_sharded_model": self.ranks,
            "projection": self.projection,
            "exact": found.exact,
            "compared": {
                "training_examples": found.examples,
                "queries": found.queries,
                "checkpoints": found.checkpoints,
                "difference_in_float64": found.in_float64,
                "difference": found.difference,
                "precision": found.precision,
                "tolerance": found.tolerance,
                "no_float64_because": found.reason or None,
            },
            "layers": [vars(layer) for layer in self.layers.layers],
            "predictions": None
            if self.predictions is None
            else [
                {
                    "command": one.command,
                    "seconds": one.cost.seconds,
                    "memory": one.cost.nbytes + one.result,
                    "measured_on": one.cost.measured_on,
                }
                for one in self.predictions
            ],
            "plan": {
                "memory_budget": self.plan.budget,
                "batch_size": self.plan.batch_size,
                "queries_at_once": self.plan.rows_at_once,
                "groups_of_layers": len(self.plan.groups),
                "layers_divided_by_outputs": self.plan.divided,
                "checkpoints_resident": self.plan.resident,
                "held": int(self.plan.held),
                "passes_over_the_training_data": self._passes(),
            },
            "all_scores_bytes": 4 * self.queries * self.examples,
            "store_bytes": {name: each * self.examples for name, each in self._stores().items()},
        }

    def show(self) -> None:
        """Prints it."""
        facts = [
            counted(self.examples, "training example"),
            counted(self.checkpoints, "checkpoint"),
            counted(self.layers.numbers, "parameter"),
        ]
        click.echo(f"{', '.join(facts)}\n")
        self._show_exactness()
        click.echo()
        self._show_layers()
        click.echo()
        self._show_plan()
        click.echo()
        self._show_costs()

    def _show_exactness(self) -> None:
        found = self.exactness
        wide = " in float64" if found.in_float64 is not None else ""
        click.echo(f"Is it exact?  {'Yes.' if found.exact else 'NO.'}")
        click.echo(
            wrapped(
                f"Scores of {counted(found.examples, 'training example')} with "
                f"{counted(found.queries, 'query', 'queries')}, at all checkpoints, against a "
                f"plain loop of autograd{wide}. The largest difference, as a share of the largest "
                f"score:",
                indent=2,
            )
        )
        if found.in_float64 is not None:
            click.echo(f"  {found.in_float64:8.0e}  of a copy of the model in float64")
        click.echo(f"  {found.difference:8.0e}  of the model as it is, in {found.precision}")
        if found.in_float64 is None:
            click.echo(
                wrapped(
                    f"The model isn't computed in float64 ({found.reason}), so the plain loop "
                    f"ran in {found.precision}, too, and part of the difference is its rounding.",
                    indent=2,
                )
            )
        if not found.exact:
            click.echo(
                wrapped(
                    f"More than the {found.tolerance:.0e} that rounding explains: don't rely on "
                    f"these scores. Does the loss of an example depend on its batch, or on "
                    f"chance? If not, this is a bug of headwater to be reported.",
                    indent=2,
                )
            )
        if self.projection is not None:
            click.echo(
                wrapped(
                    f"The file asks for {self.projection}: scores will be estimates. What is "
                    f"checked here, and costs, are those of exact scores.",
                    indent=2,
                )
            )

    def _show_layers(self) -> None:
        fallback, total = self.layers.fallback, len(self.layers.layers)
        if not fallback:
            click.echo(f"Where is it slow?  Nowhere: a rule for each of {counted(total, 'layer')}.")
            return
        click.echo(
            f"Where is it slow?  {len(fallback)} of {counted(total, 'layer')} without a rule of "
            f"its own,"
        )
        click.echo("  captured in a general way, equally right:\n")
        shown = fallback[:_FEW_LAYERS]
        click.echo(
            aligned(
                {
                    "layer": [one.name or "(the model)" for one in shown],
                    "kind": [one.kind for one in shown],
                    "parameters": [f"{one.numbers:,}".rjust(10) for one in shown],
                    "way": [one.fallback for one in shown],
                },
                indent=4,
            )
        )
        if len(fallback) > len(shown):
            click.echo(f"    ... {len(fallback) - len(shown)} more")
        if any(one.fallback != "vmap" for one in fallback):
            click.echo(
                wrapped(
                    "One pass per example is as slow as it sounds. headwater.register_rule gives "
                    "a layer of your own a rule; `layers` in the file leaves layers out.",
                    indent=2,
                )
            )

    def _passes(self) -> int:
        return 1 if self.plan.resident else self.plan.passes * self.checkpoints

    def _show_plan(self) -> None:
        plan = self.plan
        groups = len(plan.groups)
        click.echo(
            f"How is it divided?  Within {nbytes(plan.budget)}, beside the model, a batch and the "
            f"result:"
        )
        shown = {
            "batches": f"{counted(plan.batch_size, 'example')}; in halves if one doesn't fit",
            "queries": f"{plan.rows_at_once} of {plan.rows} at once",
            "layers": "all at once"
            if groups == 1
            else f"{groups} groups of them, one after another{self._of_outputs()}",
            "checkpoints": "all in memory" if plan.resident else "one after another",
            "held": nbytes(float(f"{plan.held:.2g}")) + " of queries' gradients",
            "data": f"read {'once' if self._passes() == 1 else f'{self._passes():,} times'}",
        }
        for name, value in shown.items():
            click.echo(f"  {name:13}{value}")
        if self._passes() > self.checkpoints:
            click.echo(
                wrapped(
                    f"From a memory_budget of {nbytes(plan.enough)} on, or with fewer queries at "
                    f"a time, the data is read less often.",
                    indent=2,
                )
            )

    def _of_outputs(self) -> str:
        divided = self.plan.divided
        if not divided:
            return ""
        return f"; {counted(divided, 'layer')} by {'its' if divided == 1 else 'their'} outputs"

    def _show_costs(self) -> None:
        click.echo("What will it cost?")
        if self.predictions is not None:
            on = max(one.cost.measured_on for one in self.predictions)
            click.echo(
                aligned(
                    {
                        "command": [one.command for one in self.predictions],
                        "time": [duration(one.cost.seconds) for one in self.predictions],
                        "memory": [
                            nbytes(float(f"{one.cost.nbytes + one.result:.2g}"))
                            for one in self.predictions
                        ],
                    },
                    indent=2,
                )
            )
            click.echo(
                wrapped(
                    f"Measured on up to {counted(on, 'training example')}{self._together()}. "
                    f"Memory is that of the whole process, PyTorch and all; it grows with the "
                    f"number of examples by the result alone. All scores at once would be "
                    f"{nbytes(4 * self.queries * self.examples)} more.",
                    indent=2,
                )
            )
            click.echo()
        stores = self._stores()
        click.echo(
            aligned(
                {
                    "store": list(stores),
                    "size": [nbytes(each * self.examples) for each in stores.values()],
                    "per example": [nbytes(each) for each in stores.values()],
                    "scores": ["exact", "exact", "estimates"],
                },
                indent=2,
            )
        )
        click.echo("  (in float32; half of that with --dtype float16 or bfloat16)")

    def _together(self) -> str:
        if self.ranks == 1:
            return ""
        return f", by the {self.ranks} processes together that the model is sharded over"

    def _stores(self) -> dict[str, int]:
        return {**self.layers.stored_bytes, f"projected, {_PROJECTED}": 4 * _PROJECTED}


def _memory(one: Prediction) -> str:
    # Two digits are what a prediction deserves.
    return nbytes(float(f"{one.cost.nbytes + one.result:.2g}"))
