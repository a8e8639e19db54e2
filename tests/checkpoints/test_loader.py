from __future__ import annotations

import os
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from headwater.checkpoints import default_checkpoints_load_func as load
from headwater.errors import (
    CheckpointError,
    CheckpointMismatchError,
    HeadwaterWarning,
    LearningRateError,
    NoCheckpointsError,
    UnsafeCheckpointError,
)

State = dict[str, Any]
MakeState = Callable[[float], State]
Holds = Callable[[nn.Module, float], bool]


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("as_file", [True, False])
def test_a_state_and_its_rate_may_stand_under_any_usual_key(
    model: nn.Module, make_state: MakeState, holds: Holds, tmp_path: Path, key: str, as_file: bool
) -> None:
    stored: Any = {key: make_state(2), "learning_rate": 0.07, "epoch": 4}
    if as_file:
        torch.save(stored, tmp_path / "a.pt")
        stored = str(tmp_path / "a.pt")
    assert load(model, stored) == 0.07
    assert holds(model, 2)


@pytest.mark.parametrize("legacy", [True, False])
def test_both_formats_of_torch_are_read(
    model: nn.Module, make_state: MakeState, holds: Holds, tmp_path: Path, legacy: bool
) -> None:
    path = tmp_path / "a.pt"
    torch.save(
        {"model": make_state(2), "learning_rate": 0.3},
        path,
        _use_new_zipfile_serialization=not legacy,
    )
    assert load(model, path) == 0.3
    assert holds(model, 2)


def test_a_rate_may_stand_inside_a_plain_state(
    model: nn.Module, make_state: MakeState, holds: Holds
) -> None:
    assert load(model, {**make_state(2), "learning_rate": torch.tensor(0.5)}) == 0.5
    assert holds(model, 2)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_parameter_called_learning_rate_is_no_rate(prefix: str) -> None:
    model = nn.ParameterDict({"learning_rate": torch.zeros(())})
    with pytest.warns(HeadwaterWarning, match="has no learning rate"):
        assert load(model, {prefix + "learning_rate": torch.tensor(0.25)}) == 1.0
    assert model["learning_rate"].item() == 0.25


def test_safetensors_hold_the_rate_in_their_metadata(
    model: nn.Module, make_state: MakeState, holds: Holds, tmp_path: Path
) -> None:
    save_file(make_state(2), tmp_path / "a.safetensors", metadata={"learning_rate": "3e-2"})
    assert load(model, tmp_path / "a.safetensors") == 0.03
    assert holds(model, 2)
    save_file(make_state(2), tmp_path / "b.safetensors", metadata={"learning_rate": "fast"})
    with pytest.raises(LearningRateError, match=r"b\.safetensors has learning rate 'fast'"):
        load(model, tmp_path / "b.safetensors")
    save_file(make_state(3), tmp_path / "c.safetensors")
    with pytest.warns(HeadwaterWarning, match=r"c\.safetensors has no learning rate"):
        assert load(model, tmp_path / "c.safetensors") == 1.0


def test_the_rate_of_a_pair_wins_over_the_files(
    model: nn.Module, make_state: MakeState, tmp_path: Path
) -> None:
    torch.save({"model": make_state(2), "learning_rate": 0.5}, tmp_path / "a.pt")
    assert load(model, (tmp_path / "a.pt", 0.07)) == 0.07
    assert load(model, (make_state(1), torch.tensor(2))) == 2.0


def test_no_rate_is_one_with_a_warning_that_says_how_to_give_it(
    model: nn.Module, make_state: MakeState, tmp_path: Path
) -> None:
    torch.save(make_state(2), tmp_path / "a.pt")
    message = (
        r"a\.pt has no learning rate.*1\.0 is assumed\. .*learning_rates=\[\.\.\.\].*\"model\""
    )
    with pytest.warns(HeadwaterWarning, match=message):
        assert load(model, tmp_path / "a.pt") == 1.0


@pytest.mark.parametrize("key", ["optimizer", "optimizer_state_dict", "optimizer_states"])
def test_an_optimizers_rate_is_mentioned_and_not_used(
    model: nn.Module, make_state: MakeState, key: str
) -> None:
    first, second = list(model.parameters())[:2]
    optimizer = torch.optim.SGD([{"params": [first], "lr": 0.5}, {"params": [second]}], lr=0.25)
    held: Any = optimizer.state_dict()
    stored = {"model": make_state(2), key: [held] if key == "optimizer_states" else held}
    with pytest.warns(HeadwaterWarning, match=r"has lr 0\.5, 0\.25, which is not used"):
        assert load(model, stored) == 1.0


@pytest.mark.parametrize("rate", [-1, float("nan"), "0.1", True])
def test_a_bad_rate_is_refused_before_anything_is_loaded(
    model: nn.Module, make_state: MakeState, holds: Holds, rate: object
) -> None:
    load(model, (make_state(1), 0.1))
    with pytest.raises(LearningRateError, match="the checkpoint in memory has learning rate"):
        load(model, {"model": make_state(2), "learning_rate": rate})
    assert holds(model, 1)


class Malice:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("how", ["zip", "legacy", "pickle2", "pickle4"])
def test_code_in_a_pickle_is_not_run(model: nn.Module, tmp_path: Path, how: str) -> None:
    target, path = tmp_path / "was-run", tmp_path / "evil.pt"
    content = {"model": Malice(target)}
    if how.startswith("pickle"):
        path.write_bytes(pickle.dumps(content, protocol=int(how[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    with warnings.catch_warnings():
        # Torch warns of protocol 4 before it refuses it.
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises(UnsafeCheckpointError, match=r"evil\.pt was not read") as caught:
            load(model, path)
    assert not target.exists()
    assert isinstance(caught.value.__cause__, pickle.UnpicklingError)
    assert "pass a checkpoints_load_func of your own" in str(caught.value)


def test_a_pickled_module_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 2), tmp_path / "a.pt")
    message = r"asks for torch\.nn\.modules\.linear\.Linear\. Save only model\.state_dict\(\)"
    with pytest.raises(UnsafeCheckpointError, match=message):
        load(nn.Linear(3, 2), tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(3, 2)).save(str(tmp_path / "a.pt"))
    with pytest.raises(UnsafeCheckpointError, match="it is a TorchScript archive"):
        load(nn.Linear(3, 2), tmp_path / "a.pt")


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.98])
def test_a_file_that_was_cut_off_is_named(
    model: nn.Module, make_state: MakeState, tmp_path: Path, legacy: bool, share: float
) -> None:
    path = tmp_path / "a.pt"
    torch.save(make_state(1), path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"checkpoint .*a\.pt .*damaged"):
        load(model, path)


def test_damaged_safetensors_and_foreign_files_are_named(model: nn.Module, tmp_path: Path) -> None:
    for name, content in [("a.safetensors", b"123"), ("a.txt", b"hello"), ("b.json", b"{}")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{name} can't be read: it is cut off") as caught:
            load(model, tmp_path / name)
        assert not isinstance(caught.value, UnsafeCheckpointError)
        assert caught.value.__cause__ is not None


def test_a_missing_file_and_a_folder_are_named(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(NoCheckpointsError, match=r"no file at checkpoint path .*none\.pt"):
        load(model, tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="is a folder; expected a file"):
        load(model, tmp_path)


def test_a_file_without_a_state_says_what_it_holds(model: nn.Module, tmp_path: Path) -> None:
    torch.save([torch.ones(2)], tmp_path / "a.pt")
    with pytest.raises(
        CheckpointError, match="holds an object of type list; expected a state dict"
    ):
        load(model, tmp_path / "a.pt")
    torch.save({"net": {"w": torch.ones(2)}, "epoch": 1}, tmp_path / "b.pt")
    with pytest.raises(
        CheckpointError, match=r"b\.pt holds no state dict: its keys are 'net', 'ep"
    ):
        load(model, tmp_path / "b.pt")


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        (3, r"of type int; expected a path, a state dict.*\[\(path, 0\.1\)\]"),
        (nn.Linear(3, 2), r"of type Linear; expected .*copy\.deepcopy\(model\.state_dict\(\)\)"),
        (("a.pt", True), "of type tuple; expected"),
        (None, "of type NoneType; expected"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused(
    model: nn.Module, checkpoint: object, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(model, checkpoint)


def test_parameters_stay_the_same_objects_and_the_users_state_its_own(
    model: nn.Module, make_state: MakeState, holds: Holds
) -> None:
    before, state = list(model.parameters()), make_state(2)
    load(model, (state, 0.1))
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
    with torch.no_grad():
        for value in model.state_dict().values():
            value.fill_(7)
    assert all(bool((value == 2).all()) for value in state.values())
    assert list(state) == list(make_state(0))


def test_numbers_are_cast_to_the_models_dtype(make_state: MakeState, holds: Holds) -> None:
    model = nn.Linear(3, 2).double()
    load(model, ({"weight": torch.full((2, 3), 2.0), "bias": torch.full((2,), 2.0)}, 0.1))
    assert model.weight.dtype == torch.float64
    assert holds(model, 2)


def test_a_model_in_inference_mode_can_be_loaded(
    model: nn.Module, make_state: MakeState, holds: Holds
) -> None:
    with torch.inference_mode():
        load(model, (make_state(2), 0.1))
    assert holds(model, 2)
    assert not any(p.is_inference() for p in model.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc1.bias": None}, r"'fc1\.bias' is missing in the checkpoint \(the only difference\)"),
        (
            {"fc2.weight": torch.ones(2, 5), "other.weight": torch.ones(1)},
            r"'fc2\.weight' has shape \(2, 5\) in the checkpoint and \(2, 4\) in the model "
            r"\(the first of 2 differences\)",
        ),
        ({"more": torch.ones(1)}, "'more' is unexpected: the model has no such key"),
        ({"epoch": 3}, "'epoch' is unexpected"),
        ({"norm.bias": 1.0, "fc2.weight": None}, "'norm.bias' is of type float.*first of 2 diff"),
    ],
)
def test_the_first_difference_is_named_and_nothing_copied(
    model: nn.Module, make_state: MakeState, holds: Holds, change: State, message: str
) -> None:
    load(model, (make_state(1), 0.1))
    state = {k: v for k, v in {**make_state(2), **change}.items() if v is not None}
    with pytest.raises(
        CheckpointMismatchError, match=f"checkpoint in memory does not fit.*{message}"
    ):
        load(model, (state, 0.1))
    assert holds(model, 1)


def test_another_architecture_is_named_with_its_file(model: nn.Module, tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "a.pt")
    with pytest.raises(CheckpointMismatchError, match=r"a\.pt does not.*'fc1\.weight' is missing"):
        load(model, tmp_path / "a.pt")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_what_a_wrapper_saved_fits_the_bare_model(
    model: nn.Module, make_state: MakeState, holds: Holds, prefix: str
) -> None:
    load(model, ({prefix + key: value for key, value in make_state(2).items()}, 0.1))
    assert holds(model, 2)


def test_a_wrapped_model_takes_what_the_bare_one_saved(
    model: nn.Module, make_state: MakeState, holds: Holds
) -> None:
    load(nn.DataParallel(model), (make_state(2), 0.1))
    assert holds(model, 2)
    load(torch.compile(model, backend="eager"), (make_state(3), 0.1))  # type: ignore[arg-type]
    assert holds(model, 3)


def test_versions_of_modules_are_found_through_prefixes(model: nn.Module) -> None:
    seen: list[int | None] = []
    model.norm.register_load_state_dict_pre_hook(
        lambda _module, _state, _prefix, metadata, *_: seen.append(metadata.get("version"))
    )
    wrapped = nn.DataParallel(type(model)())
    load(model, (wrapped.state_dict(), 0.1))
    assert seen == [nn.BatchNorm1d._version]


class Tied(nn.Module):
    def __init__(self, *, tie: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        if tie:
            self.head.weight = self.embed.weight


def test_a_tied_weight_may_be_saved_once(tmp_path: Path) -> None:
    saved, model = Tied(), Tied()
    save_model(saved, str(tmp_path / "a.safetensors"), metadata={"learning_rate": "0.1"})
    assert load(model, tmp_path / "a.safetensors") == 0.1
    assert torch.equal(model.embed.weight, saved.embed.weight)
    assert model.head.weight is model.embed.weight
    load(model, (saved.state_dict(), 0.1))


def test_untied_weights_do_not_fit_a_tied_model() -> None:
    with pytest.raises(
        CheckpointMismatchError, match=r"'embed\.weight' and 'head\.weight' are one"
    ):
        load(Tied(), (Tied(tie=False).state_dict(), 0.1))


class WithExtraState(nn.Linear):
    extra: Any = None

    def get_extra_state(self) -> Any:
        return self.extra

    def set_extra_state(self, state: Any) -> None:
        self.extra = state


def test_extra_state_is_copied_and_may_be_missing(tmp_path: Path) -> None:
    saved, model = WithExtraState(2, 2), WithExtraState(2, 2)
    saved.extra = {"steps": [3]}
    torch.save({"model": saved.state_dict(), "learning_rate": 0.1}, tmp_path / "a.pt")
    load(model, tmp_path / "a.pt")
    assert model.extra == {"steps": [3]}
    state = saved.state_dict()
    load(model, (state, 0.1))
    assert model.extra == saved.extra
    assert model.extra is not saved.extra
    del state["_extra_state"]
    load(model, (state, 0.1))
    load(nn.Linear(2, 2), (saved.state_dict(), 0.1))


def test_a_rate_beside_the_state_keeps_the_modules_versions(model: nn.Module) -> None:
    state = OrderedDict(type(model)().state_dict())
    state._metadata = {"norm": {"version": 17}}  # type: ignore[attr-defined]
    state["learning_rate"] = 0.2  # type: ignore[assignment]
    seen: list[int | None] = []
    model.norm.register_load_state_dict_pre_hook(
        lambda _module, _state, _prefix, metadata, *_: seen.append(metadata.get("version"))
    )
    assert load(model, state) == 0.2
    assert seen == [17]
    assert state["learning_rate"] == 0.2
    assert list(state)[-1] == "learning_rate"


def test_a_module_that_refuses_while_loading_is_a_mismatch(
    model: nn.Module, make_state: MakeState
) -> None:
    def refuse(_module: object, _state: object, prefix: str, *rest: Any) -> None:
        rest[-1].append(f"{prefix} is not for me")

    model.norm.register_load_state_dict_pre_hook(refuse)
    with pytest.raises(CheckpointMismatchError, match=r"(?s)load_state_dict says .*not for me"):
        load(model, (make_state(1), 0.1))
