"""The record of what a report was made of, which can be cited, and verified against its page."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "headwater-provenance"
VERSION = 1
DIGEST = "sha256"


def signed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A record of these facts, with the digest of all of them."""
    record = {"format": FORMAT, "version": VERSION, **facts}
    return {**record, DIGEST: digest_of(record)}


def digest_of(value: Any) -> str:
    """The SHA-256 of a value as JSON with sorted names and no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def is_intact(record: Mapping[str, Any]) -> bool:
    """Whether a record is as it was written."""
    rest = {name: value for name, value in record.items() if name != DIGEST}
    return record.get(DIGEST) == digest_of(rest)


def citation(record: Mapping[str, Any]) -> str:
    """A sentence to cite a report by."""
    model, data = record["model"], record["data"]
    return (
        f"headwater {record['headwater']} report of {record['created'][:10]}: "
        f"{record['method']['name']} on {model['class']} ({model['parameters']:,} parameters, "
        f"{len(record['checkpoints'])} checkpoints) and {data['examples']:,} training examples "
        f"(data {str(data['fingerprint'])[:12]}); record sha256:{record[DIGEST]}"
    )
