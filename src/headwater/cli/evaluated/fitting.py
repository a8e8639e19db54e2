"""Whether what was asked for fits the measure: nothing is left out without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from headwater.evaluation.wording import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headwater.evaluation import Method

# Of the options that not every measure has.
_MEASURES = {
    "queries": ("lds", "removal"),
    "subsets": ("lds",),
    "fraction": ("lds",),
    "runs": ("lds",),
    "quantity": ("lds",),
    "bank": ("lds",),
    "files": ("lds", "removal"),
    "flip": ("mislabel",),
    "share": ("mislabel",),
    "removed": ("removal",),
    "seeds": ("mislabel", "removal"),
}
_WHY_NOT = {
    "lds": "no scores by query; --measure mislabel judges what ranks the training examples alone",
    "removal": "no scores by query; --measure mislabel judges what ranks the training examples "
    "alone",
    "mislabel": "no self-influence, by which wrong labels are found; --measure lds judges scores "
    "by query",
}


def was_given(name: str) -> bool:
    """Whether the command line has this parameter, or it is the one that comes by default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not ParameterSource.DEFAULT


def refuse_unused(measure: str) -> None:
    """Raises an error where an option was given that the measure makes no use of.

    Raises:
        click.UsageError: one was.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        fitting = _MEASURES.get(name, (measure,))
        if measure not in fitting and was_given(name):
            raise click.UsageError(
                f"{parameter.opts[0]} is for --measure {' and --measure '.join(fitting)}, and "
                f"--measure {measure} makes no use of it",
                context,
            )


def fitting_methods(
    methods: Mapping[str, Method], measure: str, *, alone: bool = True
) -> tuple[dict[str, Method], list[str]]:
    """The methods that the measure can judge, and a sentence on the others, if there are any.

    Args:
        methods: those that are asked for, by name.
        measure: the measure.
        alone: whether nothing else is judged, so that without a method there is nothing to do.

    Raises:
        click.UsageError: it can judge none of them.
    """
    kept = {
        name: method
        for name, method in methods.items()
        if (method.has_self_influence if measure == "mislabel" else method.has_scores)
    }
    others = [name for name in methods if name not in kept]
    if not others:
        return kept, []
    has = "has" if len(others) == 1 else "have"
    why = f"{in_words(others)} {has} {_WHY_NOT[measure]}"
    if not kept and alone:
        raise click.UsageError(
            f"--measure {measure} can judge none of --methods: {why}", click.get_current_context()
        )
    which = "Not judged" if was_given("methods") else "Not judged, of what comes by default"
    return kept, [f"{which}: {why}."]
