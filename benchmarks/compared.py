"""The methods that are compared: which there are, where they stand, and what they are for.

A peer is imported only in the process that measures it.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.answering import Answering
    from benchmarks.workloads import Workload


@dataclass(frozen=True)
class Method:
    """A way of answering.

    Attributes:
        name: as on the command line.
        title: as in the tables.
        package: the distribution that it comes from.
        place: module and class of its `Answering`.
        layers: which workloads it is for: those of "all" layers, those of the "final" one, "both".
    """

    name: str
    title: str
    package: str
    place: str
    layers: str = "both"

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    @property
    def own(self) -> bool:
        """Whether it is headwater's, which is never given fewer examples or rounds."""
        return self.package == "headwater"

    def is_for(self, workload: Workload) -> bool:
        return self.layers in ("both", "all" if workload.final_layer is None else "final")

    def load(self) -> type[Answering]:
        module, name = self.place.split(":")
        loaded: type[Answering] = getattr(importlib.import_module(module), name)
        return loaded


PLAIN = Method("plain", "plain pass", "torch", "benchmarks.plain_answering:Plain")
HEADWATER = Method("headwater", "headwater", "headwater", "benchmarks.own:Exact")

METHODS = {
    method.name: method
    for method in (
        HEADWATER,
        Method(
            "headwater-autocast",
            "headwater, autocast",
            "headwater",
            "benchmarks.own:UnderAutocast",
            layers="all",
        ),
        Method(
            "headwater-bfloat16",
            "headwater, bfloat16",
            "headwater",
            "benchmarks.own:InBfloat16",
            layers="all",
        ),
        Method(
            "headwater-rand-proj",
            "headwater, RandProj",
            "headwater",
            "benchmarks.own:RandProj",
            layers="final",
        ),
        Method(
            "captum-sample-wise",
            "captum, sample-wise",
            "captum",
            "benchmarks.peers.captum_tracin:SampleWise",
            layers="all",
        ),
        Method(
            "captum-per-sample",
            "captum, per sample",
            "captum",
            "benchmarks.peers.captum_tracin:PerSample",
            layers="all",
        ),
        Method(
            "captum-fast",
            "captum, Fast",
            "captum",
            "benchmarks.peers.captum_fast:Fast",
            layers="final",
        ),
        Method(
            "captum-rand-proj",
            "captum, FastRandProj",
            "captum",
            "benchmarks.peers.captum_fast:RandProj",
            layers="final",
        ),
        Method(
            "kronfluence",
            "kronfluence, identity",
            "kronfluence",
            "benchmarks.peers.kronfluence_identity:Identity",
        ),
        Method("dattri", "dattri", "dattri", "benchmarks.peers.dattri_tracin:TracIn"),
        Method("vmap-grad", "vmap(grad)", "torch", "benchmarks.peers.vmap_grad:VmapGrad"),
    )
}
