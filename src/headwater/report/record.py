"""The facts of a report's provenance record."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import torch

from headwater.estimators.description import described
from headwater.report.provenance import digest_of, signed
from headwater.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headwater.estimators import TracInCPBase
    from headwater.estimators.streamed import Streamed
    from headwater.report.findings import Findings


def record_of(
    estimator: TracInCPBase, parts: Streamed, findings: Findings, data: Mapping[str, Any]
) -> dict[str, Any]:
    """The record: model, data, checkpoints, method, versions, time, and digests of the results."""
    method = described(estimator)
    meaning = estimator.attribute().meaning
    method["formula"] = meaning.wording.formula
    method["self_influence"] = meaning.formula
    scores = findings.self_influence.double().contiguous().numpy().tobytes()
    return signed(
        {
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "headwater": __version__,
            "torch": str(torch.__version__),
            "model": {
                "class": type(estimator.model).__name__,
                "parameters": sum(one.numel() for one in parts.net.parameters()),
                "selected": list(parts.selection),
            },
            "data": {
                "examples": findings.digest.examples,
                "fingerprint": findings.digest.fingerprint,
                "every_example": findings.digest.every_example,
            },
            "checkpoints": [
                {"name": one.name, "rates": list(one.rates), "weights": one.weights}
                for one in findings.outputs.checkpoints
            ],
            "method": method,
            "results": {
                "queries": 0 if findings.queries is None else findings.queries.count,
                "self_influence": hashlib.sha256(scores).hexdigest(),
                "page": digest_of(data),
            },
        }
    )
