"""A shard: the gradients of some examples in one file of safetensors, mapped into memory."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save

from headwater.errors import StoreCorruptError
from headwater.store.scratch import Scratch
from headwater.store.serialised import Pool, describe, restore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Int
    from torch import Tensor

    from headwater.forms import Gradients
    from headwater.store.manifest import ShardEntry

_LENGTH_BYTES = 8
_METADATA = "headwater"
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "U8": torch.uint8,
}

ExampleId = int | str


def shard_contents(
    parts: Sequence[Gradients],
    ids: Sequence[ExampleId],
    *,
    first: int,
    dtype: torch.dtype,
    number: int,
    binding: str,
) -> bytes:
    """The bytes of a shard.

    Args:
        parts: the gradients of the same examples, one after another: by checkpoint, or just one.
        ids: the examples' ids.
        first: how many examples were added to the store before these.
        dtype: what numbers are stored as.
        number: the shard's, which its name has too.
        binding: the digest of what the store is made of.
    """
    pool = Pool()
    layout = [describe(gradients, pool, dtype) for gradients in parts]
    ordinals = torch.arange(first, first + len(ids))
    return _saved({**pool.tensors, **_id_tensors(ids, ordinals)}, number, binding, layout)


def _saved(tensors: dict[str, Tensor], number: int, binding: str, layout: object) -> bytes:
    # Under one key: safetensors writes several in another order each time.
    told = {"shard": number, "binding": binding, "layout": layout}
    return save(tensors, {_METADATA: json.dumps(told, sort_keys=True)})


def _id_tensors(ids: Sequence[ExampleId], ordinals: Int[Tensor, " n"]) -> dict[str, Tensor]:
    if all(isinstance(one, int) for one in ids):
        return {"ids": torch.tensor(list(ids), dtype=torch.int64), "ordinals": ordinals}
    texts = [json.dumps(one).encode() for one in ids]
    ends = torch.tensor([len(text) for text in texts], dtype=torch.int64).cumsum(0)
    flat = torch.tensor(list(b"".join(texts)), dtype=torch.uint8)
    return {"ids.ends": ends, "ids.json": flat, "ordinals": ordinals}


def header_of(data: bytes) -> bytes:
    """The header of a file of safetensors: its length, and JSON."""
    (length,) = struct.unpack("<Q", data[:_LENGTH_BYTES])
    return data[: _LENGTH_BYTES + length]


class Shard:
    """A committed shard, open for reading; its numbers are read from disk when they are used.

    It stays readable after its file was deleted.

    Args:
        path: the file.
        entry: what the manifest says of it.
        binding: the digest of what the store is made of.

    Raises:
        StoreCorruptError: the file isn't the one that the manifest commits.
    """

    def __init__(self, path: Path, entry: ShardEntry, binding: str) -> None:
        self.entry = entry
        self.path = path
        header = self._read_header(path, entry)
        metadata = json.loads(header.pop("__metadata__")[_METADATA])
        number = int(entry.file.removeprefix("shard-").removesuffix(".safetensors"))
        if metadata.get("binding") != binding or metadata.get("shard") != number:
            raise StoreCorruptError(f"{entry.file} is a shard of another store; build again")
        self._layout: list[list[dict[str, Any]]] = metadata["layout"]
        self._tensors = self._map(path, entry, header)
        rows = {len(tensor) for name, tensor in self._tensors.items() if name != "ids.json"}
        if rows != {entry.rows} or not all(0 <= place < entry.rows for place in entry.deleted):
            raise StoreCorruptError(
                f"{entry.file} has not the examples that manifest.json says; build again"
            )
        dead = torch.zeros(entry.rows, dtype=torch.bool)
        dead[list(entry.deleted)] = True
        self.live = dead.logical_not().nonzero()[:, 0]

    @property
    def ids(self) -> list[ExampleId]:
        """The ids of the examples that weren't deleted."""
        if "ids" in self._tensors:
            numbers: list[ExampleId] = self._tensors["ids"][self.live].tolist()
            return numbers
        texts = bytes(self._tensors["ids.json"].tolist())
        ends = [0, *self._tensors["ids.ends"].tolist()]
        return [json.loads(texts[ends[i] : ends[i + 1]]) for i in self.live.tolist()]

    @property
    def ordinals(self) -> Int[Tensor, " n"]:
        """For each example that wasn't deleted, how many were added to the store before it."""
        return self._tensors["ordinals"][self.live]

    @property
    def dtype(self) -> torch.dtype:
        """What numbers are stored as."""
        kinds = {t.dtype for t in self._tensors.values() if t.is_floating_point()}
        return kinds.pop() if kinds else torch.float32

    @property
    def row_numbers(self) -> int:
        """How many numbers an example takes."""
        numbers = sum(t.numel() for t in self._tensors.values() if t.is_floating_point())
        return -(-numbers // max(1, self.entry.rows))

    def gradients(
        self, start: int, stop: int, like: Tensor, scratch: Scratch | None = None
    ) -> list[Gradients]:
        """The gradients of the examples in places `start` to before `stop`, deleted ones too.

        Args:
            start: the first place.
            stop: the place after the last.
            like: an empty tensor of the dtype to compute in.
            scratch: to convert in, by a caller that is done with the gradients before the next.
        """
        scratch = scratch or Scratch()
        return [
            restore(layout, self._tensors, start, stop, like, scratch) for layout in self._layout
        ]

    def compacted(self, number: int, binding: str) -> bytes:
        """The bytes of a shard of this one's live examples only, every number as it is here."""
        own = _id_tensors(self.ids, self.ordinals)
        kept = {
            name: tensor[self.live].contiguous()
            for name, tensor in self._tensors.items()
            if not name.startswith(("ids", "ordinals"))
        }
        return _saved({**kept, **own}, number, binding, self._layout)

    @staticmethod
    def _read_header(path: Path, entry: ShardEntry) -> dict[str, Any]:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size != entry.nbytes:
                raise StoreCorruptError(
                    f"{entry.file} has {size} bytes and not the {entry.nbytes} that were written; "
                    f"restore it, or build again"
                )
            file.seek(0)
            start = file.read(_LENGTH_BYTES)
            (length,) = struct.unpack("<Q", start) if len(start) == _LENGTH_BYTES else (size,)
            if length > size - _LENGTH_BYTES:
                raise StoreCorruptError(f"{entry.file} declares a header larger than itself")
            header = start + file.read(length)
        if hashlib.sha256(header).hexdigest() != entry.header_sha256:
            raise StoreCorruptError(
                f"{entry.file} was changed, or changed places with another shard; restore it, or "
                f"build again"
            )
        contents: dict[str, Any] = json.loads(header[_LENGTH_BYTES:])
        return contents

    @staticmethod
    def _map(path: Path, entry: ShardEntry, header: Mapping[str, Any]) -> dict[str, Tensor]:
        data = torch.from_file(str(path), shared=False, size=entry.nbytes, dtype=torch.uint8)
        body = entry.nbytes - max(told["data_offsets"][1] for told in header.values())
        tensors = {}
        for name, told in header.items():
            start, stop = told["data_offsets"]
            flat = data[body + start : body + stop]
            dtype = _DTYPES[told["dtype"]]
            if flat.storage_offset() % dtype.itemsize:
                flat = flat.clone()
            tensors[name] = flat.view(dtype).view(told["shape"])
        return tensors
