"""Layers that scale and shift each entry: the gradients are elementwise products, summed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from headwater.capture.layer_call import LayerCall, NotPerExample
from headwater.capture.registry import register_rule
from headwater.forms import Form, Materialised

if TYPE_CHECKING:
    from headwater.forms.gradients import Block


def layer_norm(call: LayerCall) -> dict[Block, Form]:
    """`nn.LayerNorm` over any number of last axes."""
    module = call.module
    assert isinstance(module, nn.LayerNorm)
    shape = tuple(module.normalized_shape)
    normalised = functional.layer_norm(call.input, shape, eps=module.eps)
    return _scale_and_shift(call, normalised, trailing=len(shape))


def rms_norm(call: LayerCall) -> dict[Block, Form]:
    """`nn.RMSNorm`, which has no bias."""
    module = call.module
    assert isinstance(module, nn.RMSNorm)
    shape = tuple(module.normalized_shape)
    # Its default eps is that of the precision in which the layer itself computes.
    original = call.args[0] if call.args else next(iter(call.kwargs.values()))
    normalised = functional.rms_norm(original.detach(), shape, eps=module.eps)
    return _scale_and_shift(call, normalised.to(call.output_grad.dtype), trailing=len(shape))


def group_norm(call: LayerCall) -> dict[Block, Form]:
    """`nn.GroupNorm`."""
    module = call.module
    assert isinstance(module, nn.GroupNorm)
    normalised = functional.group_norm(call.input, module.num_groups, eps=module.eps)
    return _per_channel(call, normalised)


def running_norm(call: LayerCall) -> dict[Block, Form]:
    """BatchNorm in eval mode; InstanceNorm, by running statistics or by each example's own."""
    module = call.module
    assert isinstance(module, nn.modules.batchnorm._NormBase)
    inputs = call.input
    mean, var = module.running_mean, module.running_var
    mean, var = (None if stat is None else stat.to(inputs.dtype) for stat in (mean, var))
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        if mean is None:
            raise NotPerExample("statistics of the batch")
        normalised = functional.batch_norm(inputs, mean, var, eps=module.eps)
    else:
        if inputs.dim() == call.output_grad.dim() and _lacks_batch(module, inputs):
            raise NotPerExample("an input without a batch axis")
        own = module.training or not module.track_running_stats
        normalised = functional.instance_norm(
            inputs, mean, var, use_input_stats=own, eps=module.eps
        )
    return _per_channel(call, normalised)


def _lacks_batch(module: nn.Module, inputs: Tensor) -> bool:
    with_batch = {nn.InstanceNorm1d: 3, nn.InstanceNorm2d: 4, nn.InstanceNorm3d: 5}
    return any(isinstance(module, kind) and inputs.dim() != dim for kind, dim in with_batch.items())


def prelu(call: LayerCall) -> dict[Block, Form]:
    """`nn.PReLU`, with one slope for all or one per channel."""
    module, inputs = call.module, call.input
    assert isinstance(module, nn.PReLU)
    grads = call.output_grad * inputs.clamp(max=0)
    if module.num_parameters == 1:
        return {("weight",): Materialised(call.by_example(grads, trailing=0).sum(1, keepdim=True))}
    return {("weight",): Materialised(_sum_to_channels(call, grads))}


def _scale_and_shift(call: LayerCall, normalised: Tensor, *, trailing: int) -> dict[Block, Form]:
    grads = call.output_grad
    # In the memory of the first factor, which is this rule's own: fresh memory takes longer.
    parts = {"weight": normalised.mul_(grads), "bias": grads}
    return {
        (name,): Materialised(call.by_example(part, trailing=trailing).sum(dim=1).flatten(1))
        for name, part in parts.items()
        if name in call.wanted
    }


def _per_channel(call: LayerCall, normalised: Tensor) -> dict[Block, Form]:
    grads = call.output_grad
    parts = {"weight": normalised.mul_(grads), "bias": grads}
    return {
        (name,): Materialised(_sum_to_channels(call, part))
        for name, part in parts.items()
        if name in call.wanted
    }


def _sum_to_channels(call: LayerCall, tensor: Tensor) -> Tensor:
    """(N, C, positions...) or (N, C) to (B, C), N being B or a multiple of it."""
    channels = tensor if tensor.dim() == 2 else tensor.flatten(2).sum(dim=2)
    return call.by_example(channels, trailing=1).sum(dim=1)


register_rule(nn.LayerNorm, layer_norm)
register_rule(nn.RMSNorm, rms_norm)
register_rule(nn.GroupNorm, group_norm)
register_rule(nn.PReLU, prelu)
for norm in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm):
    register_rule(norm, running_norm)
for instance_norm in (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d):
    register_rule(instance_norm, running_norm, methods=("forward", "_apply_instance_norm"))
