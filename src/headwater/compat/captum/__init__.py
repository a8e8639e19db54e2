"""The TracIn part of `captum.influence`, as Captum 0.9.0 has it, on headwater's engine.

    from headwater.compat.captum import TracInCP  # in place of captum.influence

Captum itself is not needed. Which numbers differ from Captum's, and why: docs/captum.md.
"""

from headwater.compat.captum.base import TracInCPBase
from headwater.compat.captum.tracincp import TracInCP
from headwater.compat.captum.tracincp_fast import TracInCPFast
from headwater.compat.captum.tracincp_fast_rand_proj import TracInCPFastRandProj
from headwater.estimators import DataInfluence, KMostInfluentialResults

__all__ = [
    "DataInfluence",
    "KMostInfluentialResults",
    "TracInCP",
    "TracInCPBase",
    "TracInCPFast",
    "TracInCPFastRandProj",
]
