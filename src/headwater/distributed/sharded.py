"""Models whose parameters FSDP2's `fully_shard` has dealt out to ranks.

A sharded parameter is a `DTensor`, of which a rank holds some rows. FSDP's hooks put the whole
parameter in its place for the time of its module's forward and backward pass, which all ranks
gather together: so all ranks have to go through the model in step.
"""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from headwater.distributed.give_back import give_back
from headwater.distributed.ranks import is_alone, present
from headwater.errors import InputError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headwater.distributed.ranks import Ranks


def is_sharded(thing: object) -> bool:
    """Whether it is a tensor, or a model with a parameter, of which this rank holds a part."""
    kind = _found("torch.distributed.tensor", "DTensor")
    if kind is None:
        return False
    if isinstance(thing, nn.Module):
        # A module is no FSDPModule any more where its parameters are gathered at the moment.
        return bool(_managed(thing)) or any(isinstance(p, kind) for p in thing.parameters())
    return isinstance(thing, kind)


def sharing_ranks(model: nn.Module) -> Ranks | None:
    """The ranks that share a sharded model's weights; None for a whole one, or for one rank."""
    return present() if is_sharded(model) else None


def class_name(module: nn.Module) -> str:
    """The name of a module's class as it was before `fully_shard` made one of its own of it."""
    kind = _found("torch.distributed.fsdp", "FSDPModule")
    if kind is not None and isinstance(module, kind):
        written = [base for base in type(module).__bases__ if base is not kind]
        return written[0].__name__
    return type(module).__name__


def own_part(tensor: Tensor) -> Tensor:
    """The numbers that are in this rank's memory, apart from any graph; a whole tensor itself."""
    if not is_sharded(tensor):
        return tensor.data
    part: Tensor = tensor.detach().to_local()  # type: ignore[attr-defined]
    return part


def whole(tensor: Tensor) -> Tensor:
    """All its numbers, apart from any graph; those of a sharded one all ranks gather together."""
    if not is_sharded(tensor):
        return tensor.detach()
    gathered: Tensor = tensor.detach().full_tensor()  # type: ignore[attr-defined]
    return gathered


def parts_of(tensor: Tensor) -> int:
    """Into how many parts a tensor is dealt out; 1 for a whole one."""
    if not is_sharded(tensor):
        return 1
    axes = enumerate(tensor.placements)  # type: ignore[attr-defined]
    sizes = (tensor.device_mesh.size(axis) for axis, how in axes if not how.is_replicate())  # type: ignore[attr-defined]
    return math.prod(sizes)


def put(tensor: Tensor, part: Tensor) -> None:
    """Gives a tensor other numbers: a whole one points to `part`, a sharded one gets a copy.

    FSDP gathers from memory that it keeps hold of, whatever a parameter points to.
    """
    if is_sharded(tensor):
        with torch.no_grad():
            own_part(tensor).copy_(part)
    else:
        tensor.data = part


def dealt_like(whole: Tensor, like: Tensor) -> Tensor:
    """A tensor that every rank has, dealt out as another is; each rank copies its own rows."""
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = like.device_mesh, like.placements  # type: ignore[attr-defined]
    return distribute_tensor(whole, mesh, placements, src_data_rank=None)


def reshard(model: nn.Module) -> None:
    """Lets go of what FSDP has gathered, so that the next pass gathers the weights as they are.

    The outermost module keeps its parameters gathered from the forward pass to the backward, and
    beyond, if that doesn't come.
    """
    for module in _outermost(model):
        # Newer versions of torch go back from where an exception has broken off a pass. Before the
        # first pass there is nothing to go back from, nor may it be asked for.
        reset = getattr(module, "reset_iter_state", None)
        if reset is not None and module._get_fsdp_state()._is_root:
            reset()
    for module in _managed(model):
        module.reshard()


def refuse_sharding(model: nn.Module, *, supported: bool) -> None:
    """Raises for a sharded model that can't be gone through as it is.

    Raises:
        InputError: it is asked by a rank alone, or of something that takes no sharded models.
        ModelError: it is sharded by other means than `fully_shard` over one axis of ranks.
    """
    older = _found("torch.distributed.fsdp", "FullyShardedDataParallel")
    if older is not None and any(isinstance(module, older) for module in model.modules()):
        raise ModelError(
            "the model is wrapped in FullyShardedDataParallel, whose parameters have no layers of "
            "their own; shard it by torch.distributed.fsdp.fully_shard (FSDP2)"
        )
    if not is_sharded(model):
        return
    managed = {id(p) for module in _managed(model) for p in module.parameters()}
    for name, parameter in model.named_parameters():
        if not is_sharded(parameter):
            continue
        axes = [place for place in parameter.placements if not place.is_replicate()]  # type: ignore[attr-defined]
        if id(parameter) not in managed or len(axes) > 1:
            raise ModelError(
                f"parameter {name!r} is sharded by other means than fully_shard alone "
                f"({parameter.placements}), such as tensor parallelism, which isn't supported; "  # type: ignore[attr-defined]
                f"shard the model by torch.distributed.fsdp.fully_shard"
            )
    if not supported:
        raise InputError(
            "the model's parameters are sharded over ranks (fully_shard), and only TracInCP and "
            "its like, TRAK, LoGra, LESS, InfluenceFunction with EKFAC or KFAC, and their stores "
            "go through such a model; for anything else pass a model that is whole"
        )
    if is_alone() and _others(model):
        raise InputError(
            "the model's parameters are sharded over ranks, so no rank can go through it within "
            "headwater.distributed.alone(); ask on every rank"
        )


# Entries of which every rank looks at all.
_WHOLE = 4096


class Gathered:
    """Notes the whole parameters, while a model is gone through, that FSDP gathers for its modules.

    Args:
        model: the model; one that isn't sharded gathers nothing.
        names: of the parameters that are to be noted.

    Attributes:
        sharded: whether the model is.
        part: which of `parts` equal parts of a flat gradient this rank looks at.
        parts: how many there are.
        trail: the numbers of the modules that parameters were gathered for, in order, since it was
            emptied.
    """

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        self.sharded = is_sharded(model)
        self._ranks = sharing_ranks(model)
        self.part = 0 if self._ranks is None else self._ranks.rank
        self.parts = 1 if self._ranks is None else self._ranks.size
        self._model = model
        self.trail: list[int] = []
        self._noted: dict[str, Tensor] = {}
        self._owned: dict[nn.Module, list[tuple[str, str]]] = {}
        if self.sharded:
            self._find(set(names))

    def _find(self, names: set[str]) -> None:
        reshard(self._model)
        canonical = {id(p): name for name, p in self._model.named_parameters()}
        for module in self._model.modules():
            for local, parameter in module._parameters.items():
                name = canonical.get(id(parameter))
                if name in names:
                    self._owned.setdefault(module, []).append((local, name))

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Within, every forward pass notes what is gathered for it."""
        modules = _managed(self._model)
        handles = [
            module.register_forward_pre_hook(partial(self._note, number))
            for number, module in enumerate(modules)
        ]
        if any(own_part(p).device.type == "cpu" for p in self._model.parameters()):
            handles += [module.register_forward_hook(_give_back_after) for module in modules]
        try:
            yield
        finally:
            self._noted = {}
            for handle in handles:
                handle.remove()

    def _note(self, number: int, module: nn.Module, _: Any) -> None:
        self.trail.append(number)
        for part in module.modules():
            for local, name in self._owned.get(part, ()):
                parameter = part._parameters[local]
                # Those of modules within are gathered later, by their own hooks.
                if parameter is not None and not is_sharded(parameter):
                    self._noted[name] = parameter

    def leaves(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What stands for each parameter in the graph of the last pass.

        One that nothing was gathered of is in no graph, and is left out.
        """
        if not self.sharded:
            return dict(parameters)
        found = {name: self._noted.get(name, p) for name, p in parameters.items()}
        return {name: leaf for name, leaf in found.items() if not is_sharded(leaf)}

    def own(self, flat: Tensor) -> Tensor:
        """This rank's part of a gradient's entries; all of few, whose parts would say little."""
        if len(flat) <= _WHOLE:
            return flat
        low, high = (len(flat) * place // self.parts for place in (self.part, self.part + 1))
        return flat[low:high]

    def agreed(self, found: dict[str, float]) -> dict[str, float]:
        """What any rank found, by name the greatest; every rank gets the same."""
        if self._ranks is None:
            return found
        most: dict[str, float] = {}
        for each in self._ranks.gathered_object(found):
            for name, number in each.items():
                most[name] = max(number, most.get(name, number))
        return most

    def reshard(self) -> None:
        """`reshard` for the model."""
        if self.sharded:
            reshard(self._model)


def _give_back_after(module: nn.Module, _: Any, output: Any) -> None:
    """What was gathered for a module is freed after its forward pass, and after its backward."""
    give_back()
    for leaf in tree_leaves(output):
        if isinstance(leaf, Tensor) and leaf.requires_grad:
            # The gradient at its output is there when those behind it are done.
            leaf.register_hook(lambda grad: give_back())


def _managed(model: nn.Module) -> list[Any]:
    """The modules that `fully_shard` was called with."""
    kind = _found("torch.distributed.fsdp", "FSDPModule")
    return [] if kind is None else [m for m in model.modules() if isinstance(m, kind)]


def _outermost(model: nn.Module) -> list[Any]:
    inside: set[nn.Module] = set()
    found = []
    # From the outside in.
    for module in _managed(model):
        if module not in inside:
            found.append(module)
            inside.update(module.modules())
    return found


def _others(model: nn.Module) -> bool:
    parts = (p for p in model.parameters() if is_sharded(p))
    return any(p.device_mesh.size() > 1 for p in parts)  # type: ignore[attr-defined]


def _found(module: str, name: str) -> Any:
    """A class of a module that need not be imported: without it there are no instances."""
    return getattr(sys.modules.get(module), name, None)
