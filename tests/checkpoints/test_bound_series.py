from __future__ import annotations

import copy
import gc
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from headwater.checkpoints import (
    BoundSeries,
    LoadedCheckpoint,
    default_checkpoints_load_func,
)
from headwater.errors import (
    CheckpointError,
    HeadwaterWarning,
    InputError,
    LearningRateError,
    NoCheckpointsError,
)

State = dict[str, Any]
MakeState = Callable[[float], State]
Holds = Callable[[nn.Module, float], bool]


def series(model: nn.Module, checkpoints: Any, rates: Any = None) -> BoundSeries:
    return BoundSeries(model, checkpoints, default_checkpoints_load_func, rates)


def own(model: nn.Module, checkpoints: Any, rate: Any, rates: Any = None) -> BoundSeries:
    return BoundSeries(model, checkpoints, lambda _model, _item: rate, rates)


def rates_of(checkpoints: BoundSeries) -> list[float]:
    return [loaded.rate for loaded in checkpoints.visit()]


@pytest.fixture
def folder(tmp_path: Path, make_state: MakeState) -> Path:
    """Checkpoints 2, 9, 10 in whose state every number is 2, 9, 10, with rates 0.2, 0.9, 1.0."""
    for number in (10, 2, 9):
        stored = {"model": make_state(number), "learning_rate": number / 10}
        torch.save(stored, tmp_path / f"ckpt-{number}.pt")
    return tmp_path


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_is_visited_in_natural_order(
    model: nn.Module, folder: Path, holds: Holds, kind: Callable[[Path], object]
) -> None:
    checkpoints = series(model, kind(folder))
    assert (checkpoints.count, checkpoints.replayable) == (3, True)
    for _ in range(2):
        seen = []
        for loaded in checkpoints.visit():
            assert holds(model, loaded.rate * 10)
            seen.append(loaded)
        assert seen == [
            LoadedCheckpoint(0, "ckpt-2.pt", 0.2),
            LoadedCheckpoint(1, "ckpt-9.pt", 0.9),
            LoadedCheckpoint(2, "ckpt-10.pt", 1.0),
        ]


def test_one_file_is_one_checkpoint(model: nn.Module, folder: Path) -> None:
    checkpoints = series(model, str(folder / "ckpt-9.pt"))
    assert checkpoints.count == 1
    assert list(checkpoints.visit()) == [LoadedCheckpoint(0, "ckpt-9.pt", 0.9)]


def test_a_list_keeps_its_order_and_mixes_kinds(
    model: nn.Module, folder: Path, make_state: MakeState
) -> None:
    items = [
        folder / "ckpt-10.pt",
        (str(folder / "ckpt-2.pt"), 0.07),
        (make_state(1), 0.3),
        {"model": make_state(1), "learning_rate": 0.4},
    ]
    assert list(series(model, items).visit()) == [
        LoadedCheckpoint(0, "ckpt-10.pt", 1.0),
        LoadedCheckpoint(1, "ckpt-2.pt", 0.07),
        LoadedCheckpoint(2, "checkpoint 2", 0.3),
        LoadedCheckpoint(3, "checkpoint 3", 0.4),
    ]


def test_a_list_that_is_changed_later_changes_nothing(model: nn.Module, folder: Path) -> None:
    items = [folder / "ckpt-9.pt"]
    checkpoints = series(model, items)
    items.clear()
    assert rates_of(checkpoints) == [0.9]


def test_nothing_is_loaded_before_the_iterator_is_advanced(
    model: nn.Module, make_state: MakeState, holds: Holds
) -> None:
    default_checkpoints_load_func(model, (make_state(5), 1))
    visit = series(model, [(make_state(1), 0.3), (make_state(2), 0.07)]).visit()
    assert holds(model, 5)
    next(visit)
    assert holds(model, 1)
    next(visit)
    assert holds(model, 2)


class Weights(dict[str, Any]):
    """A dict that a weak reference can be made to."""


def test_a_generator_is_read_lazily_and_nothing_of_it_is_held(
    model: nn.Module, make_state: MakeState
) -> None:
    made = 0
    refs: list[weakref.ref[Weights]] = []
    alive_when_next_is_made: list[int] = []

    def generate() -> Iterator[Any]:
        nonlocal made
        for number in range(4):
            gc.collect()
            alive_when_next_is_made.append(sum(ref() is not None for ref in refs))
            made += 1
            yield weights(number)

    def weights(number: int) -> Weights:
        state = Weights(make_state(number), learning_rate=0.1)
        refs.append(weakref.ref(state))
        return state

    checkpoints = series(model, generate())
    assert (checkpoints.count, checkpoints.replayable, made) == (None, False, 0)
    for loaded in checkpoints.visit():
        assert made == loaded.index + 1
        assert refs[loaded.index]() is None
    assert alive_when_next_is_made == [0, 0, 0, 0]


def test_a_generator_can_be_read_only_once(model: nn.Module, make_state: MakeState) -> None:
    checkpoints = series(model, ((make_state(x), 0.1) for x in range(2)))
    next(checkpoints.visit())
    with pytest.raises(NoCheckpointsError, match=r"generator, which can be read only once.*a list"):
        next(checkpoints.visit())


def test_a_sized_iterable_of_ones_own_is_counted_and_replayed(
    model: nn.Module, make_state: MakeState
) -> None:
    class Two:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return (make_state(index), [0.3, 0.07][index])

    checkpoints = series(model, Two())
    assert (checkpoints.count, checkpoints.replayable) == (2, True)
    assert rates_of(checkpoints) == rates_of(checkpoints) == [0.3, 0.07]


@pytest.mark.parametrize("nothing", [[], (), {}.values()])
def test_no_checkpoints_is_an_error_at_once(model: nn.Module, nothing: Any) -> None:
    with pytest.raises(
        NoCheckpointsError, match=r"is an empty .*; expected at least one checkpoint"
    ):
        series(model, nothing)


def test_an_iterable_that_yields_nothing_is_an_error(model: nn.Module) -> None:
    checkpoints = series(model, iter(()))
    with pytest.raises(NoCheckpointsError, match="yields nothing; expected at least one"):
        list(checkpoints.visit())


def test_empty_folders_and_missing_paths_are_errors_at_once(
    model: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(NoCheckpointsError, match="it holds nothing"):
        series(model, tmp_path)
    with pytest.raises(NoCheckpointsError, match=r"there is nothing at the path .*runs"):
        series(model, str(tmp_path / "runs"))
    with pytest.raises(FileNotFoundError):
        series(model, tmp_path / "runs")


@pytest.mark.parametrize(
    ("checkpoints", "message"),
    [
        ({"w": torch.ones(1)}, r"is a single dict; expected .*pass \[copy\.deepcopy"),
        (nn.Sequential(nn.Linear(2, 2)), "is a single Sequential; expected"),
        ({"a.pt", "b.pt"}, "is a set, which has no order; pass a list"),
        (3, "is of type int; expected a folder, a file or an iterable"),
    ],
)
def test_what_is_no_collection_of_checkpoints_is_refused(
    model: nn.Module, checkpoints: object, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        series(model, checkpoints)


def test_a_loader_that_is_no_function_is_refused(model: nn.Module) -> None:
    with pytest.raises(
        InputError, match="checkpoints_load_func is of type str; expected a function"
    ):
        BoundSeries(model, ["a"], "load")  # type: ignore[arg-type]


def test_learning_rates_win_over_pairs_files_and_loaders(
    model: nn.Module, folder: Path, make_state: MakeState
) -> None:
    items = [folder / "ckpt-2.pt", (make_state(1), 0.5), make_state(2)]
    given = iter([0.3, np.float64(0.07), torch.tensor(2)])
    assert rates_of(series(model, items, given)) == [0.3, 0.07, 2.0]
    assert rates_of(own(model, ["a", "b"], 0.9, [0.3, 0.07])) == [0.3, 0.07]
    bad = {"model": make_state(1), "learning_rate": "none"}
    assert rates_of(series(model, [bad], [0.25])) == [0.25]


@pytest.mark.parametrize("rates", [[0.1, 0.2], [0.1] * 4])
def test_a_wrong_number_of_rates_is_an_error_at_once(
    model: nn.Module, folder: Path, rates: list[float]
) -> None:
    message = f"has {len(rates)} entries, and the number of checkpoints is 3"
    with pytest.raises(LearningRateError, match=message):
        series(model, folder, rates)


def test_too_few_rates_for_a_generator_are_an_error_on_reaching_the_end_of_them(
    model: nn.Module, make_state: MakeState, holds: Holds
) -> None:
    visit = series(model, (make_state(x) for x in range(1, 4)), [0.3, 0.07]).visit()
    assert [next(visit).rate, next(visit).rate] == [0.3, 0.07]
    with pytest.raises(LearningRateError, match=r"has 2 entries, and .* checkpoints is at least 3"):
        next(visit)
    assert holds(model, 2)


def test_too_many_rates_for_a_generator_are_an_error_at_the_end(
    model: nn.Module, make_state: MakeState
) -> None:
    visit = series(model, (make_state(x) for x in range(2)), [0.3, 0.07, 0.1]).visit()
    assert [next(visit).rate, next(visit).rate] == [0.3, 0.07]
    with pytest.raises(LearningRateError, match=r"has 3 entries, and .* checkpoints is 2"):
        next(visit)


def test_a_bad_rate_names_its_checkpoint(
    model: nn.Module, make_state: MakeState, tmp_path: Path
) -> None:
    with pytest.raises(LearningRateError, match=r"checkpoint 1 has learning rate -0\.1"):
        rates_of(series(model, [(make_state(1), 1), (make_state(1), -0.1)]))
    torch.save({"model": make_state(1), "learning_rate": True}, tmp_path / "a.pt")
    with pytest.raises(LearningRateError, match=r"a\.pt has learning rate True \(bool\)"):
        rates_of(series(model, tmp_path))
    with pytest.raises(LearningRateError, match=r"learning_rates\[0\] gives .* nan"):
        series(model, tmp_path, [float("nan")])


def test_missing_rates_are_warned_of_once_per_series(
    model: nn.Module, make_state: MakeState, tmp_path: Path
) -> None:
    for number in range(3):
        torch.save(make_state(number), tmp_path / f"ckpt-{number}.pt")
    checkpoints = series(model, tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert rates_of(checkpoints) == rates_of(checkpoints) == [1.0, 1.0, 1.0]
    assert [warning.category for warning in caught] == [HeadwaterWarning]
    message = str(caught[0].message)
    assert "ckpt-0.pt has no learning rate" in message
    assert "learning_rates=[...]" in message
    assert '{"model": model.state_dict(), "learning_rate": x}' in message


def test_the_warning_names_the_first_checkpoint_without_a_rate_and_the_optimizers(
    model: nn.Module, make_state: MakeState
) -> None:
    optimizer = {"param_groups": [{"lr": 0.01, "params": [0]}]}
    items = [(make_state(1), 0.5), {"model": make_state(2), "optimizer": optimizer}]
    with pytest.warns(HeadwaterWarning, match=r"checkpoint 1 has no .*lr 0\.01, which is not used"):
        assert rates_of(series(model, items)) == [0.5, 1.0]


def test_given_rates_need_no_warning(model: nn.Module, make_state: MakeState) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rates_of(series(model, [make_state(1)], [0.1]))


def test_a_loader_of_ones_own_gets_the_items_untouched(model: nn.Module) -> None:
    items: list[Any] = [("a", 0.5), object(), 7, {"w": 1}, "s3://bucket/ckpt.pt"]
    got: list[Any] = []

    def load(loaded_into: nn.Module, item: Any) -> float:
        assert loaded_into is model
        assert not torch.is_grad_enabled()
        got.append(item)
        return 0.3

    with torch.enable_grad():
        for _ in BoundSeries(model, items, load).visit():
            assert torch.is_grad_enabled()
    assert len(got) == len(items)
    assert all(a is b for a, b in zip(got, items, strict=True))


@pytest.mark.parametrize("kind", [str, Path])
def test_a_loader_of_ones_own_gets_paths_of_the_kind_given(
    model: nn.Module, tmp_path: Path, kind: Callable[[Path], object]
) -> None:
    for name in ("b-10.npz", "b-9.npz"):
        (tmp_path / name).touch()
    got: list[Any] = []
    loaded = BoundSeries(model, kind(tmp_path), lambda _, item: got.append(item) or 0.1).visit()
    assert [x.name for x in loaded] == ["b-9.npz", "b-10.npz"]
    assert got == [kind(tmp_path / "b-9.npz"), kind(tmp_path / "b-10.npz")]


@pytest.mark.parametrize("returned", [None, "0.1", True, [0.1]])
def test_a_loader_has_to_return_the_rate(model: nn.Module, returned: object) -> None:
    message = "returned .* for checkpoint b.npz; it must return the learning rate"
    with pytest.raises(LearningRateError, match=message):
        rates_of(own(model, ["b.npz"], returned))
    assert rates_of(own(model, ["b.npz"], returned, [0.3])) == [0.3]


def test_a_loaders_rate_has_to_be_finite_and_not_negative(model: nn.Module) -> None:
    assert rates_of(own(model, ["a", "b"], np.float32(0.5))) == [0.5, 0.5]
    with pytest.raises(LearningRateError, match="returned for checkpoint a the learning rate inf"):
        rates_of(own(model, ["a"], float("inf")))


def test_a_loaders_own_exception_comes_through_unchanged(model: nn.Module) -> None:
    error = KeyError("mine")

    def load(_model: nn.Module, _item: object) -> float:
        raise error

    with pytest.raises(KeyError) as caught:
        rates_of(BoundSeries(model, ["a"], load))
    assert caught.value is error


def test_the_models_own_state_may_be_the_only_checkpoint(model: nn.Module) -> None:
    assert rates_of(series(model, [(model.state_dict(), 0.3)])) == [0.3]


@pytest.mark.parametrize("as_generator", [True, False])
def test_the_models_own_state_is_refused_among_others(
    model: nn.Module, make_state: MakeState, as_generator: bool
) -> None:
    items: list[Any] = [(model.state_dict(), 0.3), (make_state(2), 0.07)]
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        CheckpointError, match=r"checkpoint 0 shares memory with the model.*deepcopy"
    ):
        rates_of(series(model, iter(items) if as_generator else items))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
