"""Adapters of PEFT inside a model: which parameters are theirs, and whether they take part.

They are known by how their layers look, so that PEFT itself is never imported.
"""

from headwater.adapters.layers import AdapterParameter, adapter_parameters, refuse_inactive

__all__ = ["AdapterParameter", "adapter_parameters", "refuse_inactive"]
