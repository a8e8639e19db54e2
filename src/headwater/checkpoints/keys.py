"""Matching a checkpoint's keys with the model's, through what wrappers add to them."""

from __future__ import annotations

from collections.abc import Sequence

_COMPILED = "_orig_mod"
_PARALLEL = "module"


def is_extra_state(key: str) -> bool:
    """Whether the key holds what a module's own `get_extra_state` gave, which is no tensor."""
    return key.rpartition(".")[2] == "_extra_state"


def without_wrappers(key: str) -> str:
    """The key without `_orig_mod` anywhere and without leading `module`, as whole segments."""
    *parents, last = key.split(".")
    parents = [segment for segment in parents if segment != _COMPILED]
    while parents and parents[0] == _PARALLEL:
        del parents[0]
    return ".".join([*parents, last])


def match_keys(model_keys: Sequence[str], state_keys: Sequence[str]) -> dict[str, str]:
    """The checkpoint's key for each of the model's keys that it has.

    Keys are compared as they are, and then with the prefixes that DataParallel, DDP
    (`module.`) and torch.compile (`_orig_mod.`) add taken away from either side. Of several ways
    the one under which most keys agree is taken; of equals, the one that renames least.
    """
    # A wrapper puts its prefix before every key. So the first attempts take it off all keys at
    # once, which is right also for a model that has an attribute called `module` among others.
    best: dict[str, str] = {}
    model_readings, state_readings = _readings(model_keys), _readings(state_keys)
    pairs = [(m, s) for m in range(len(model_readings)) for s in range(len(state_readings))]
    for m, s in sorted(pairs, key=sum):
        by_name = dict(zip(state_readings[s], state_keys, strict=True))
        names = zip(model_readings[m], model_keys, strict=True)
        match = {key: by_name[name] for name, key in names if name in by_name}
        if len(match) > len(best):
            best = match
    return best


def _readings(keys: Sequence[str]) -> list[list[str]]:
    """The keys as they are, then with ever more of the wrappers' segments taken away."""
    readings = [list(keys)]
    current = [_without_compiled(key) for key in keys]
    readings.append(current)
    while current and all(key.startswith(f"{_PARALLEL}.") for key in current):
        current = [key.removeprefix(f"{_PARALLEL}.") for key in current]
        readings.append(current)
    readings.append([without_wrappers(key) for key in keys])
    # Two keys that become one can't be told apart any more.
    return [reading for reading in readings if len(set(reading)) == len(keys)]


def _without_compiled(key: str) -> str:
    *parents, last = key.split(".")
    return ".".join([*(segment for segment in parents if segment != _COMPILED), last])
