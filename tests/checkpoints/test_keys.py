from __future__ import annotations

import pytest

from headwater.checkpoints.keys import match_keys, without_wrappers


@pytest.mark.parametrize(
    ("key", "bare"),
    [
        ("fc.weight", "fc.weight"),
        ("module.fc.weight", "fc.weight"),
        ("_orig_mod.fc.weight", "fc.weight"),
        ("module._orig_mod.fc.weight", "fc.weight"),
        ("_orig_mod.module.module.fc.weight", "fc.weight"),
        ("net._orig_mod.fc.weight", "net.fc.weight"),
        ("net.module.weight", "net.module.weight"),
        ("submodule.weight", "submodule.weight"),
        ("modules.weight", "modules.weight"),
        ("module", "module"),
        ("module._orig_mod", "_orig_mod"),
    ],
)
def test_wrappers_are_whole_segments(key: str, bare: str) -> None:
    assert without_wrappers(key) == bare


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "module.module."])
def test_either_side_may_be_wrapped(prefix: str) -> None:
    bare = ["fc.weight", "submodule.weight"]
    wrapped = [prefix + key for key in bare]
    assert match_keys(bare, wrapped) == dict(zip(bare, wrapped, strict=True))
    assert match_keys(wrapped, bare) == dict(zip(wrapped, bare, strict=True))
    assert match_keys(wrapped, wrapped) == dict(zip(wrapped, wrapped, strict=True))


def test_wrappers_may_differ_on_the_two_sides() -> None:
    assert match_keys(["module.a.w"], ["_orig_mod.a.w"]) == {"module.a.w": "_orig_mod.a.w"}


def test_a_compiled_part_matches_the_same_part_uncompiled() -> None:
    match = match_keys(["net.w", "head.w"], ["net._orig_mod.w", "head.w"])
    assert match == {"net.w": "net._orig_mod.w", "head.w": "head.w"}


def test_an_attribute_called_module_is_no_prefix() -> None:
    model = ["module.weight", "head.weight"]
    assert match_keys(model, model) == {key: key for key in model}
    wrapped = ["module.module.weight", "module.head.weight"]
    assert match_keys(model, wrapped) == dict(zip(model, wrapped, strict=True))


def test_an_attribute_called_module_is_told_apart_where_bare_names_would_collide() -> None:
    model = ["module.weight", "weight"]
    assert match_keys(model, ["weight", "module.weight"]) == {key: key for key in model}
    assert match_keys(model, ["module.module.weight", "module.weight"]) == {
        "module.weight": "module.module.weight",
        "weight": "module.weight",
    }


def test_nothing_is_renamed_where_that_matches_no_more() -> None:
    assert match_keys(["a.w", "b.w"], ["a.w", "module.c.w"]) == {"a.w": "a.w"}
    assert match_keys(["a.w"], ["module.c.w"]) == {}


def test_a_key_beside_the_prefixed_ones_does_not_hide_them() -> None:
    # What torch's AveragedModel saves.
    assert match_keys(["a.w"], ["n_averaged", "module.a.w"]) == {"a.w": "module.a.w"}


def test_of_equal_matches_the_one_that_renames_least_is_taken() -> None:
    assert match_keys(["module.w", "w"], ["module.w"]) == {"module.w": "module.w"}


def test_one_key_never_serves_two_that_differ_by_a_prefix() -> None:
    assert match_keys(["module.w", "w"], ["_orig_mod.w"]) == {"w": "_orig_mod.w"}
