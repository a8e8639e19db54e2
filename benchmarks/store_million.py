"""Exact top-10 over a million stored vectors of 1,024 numbers in float16 (about 2 GB).

The vectors are made up. Queries, given as vectors, are held against two floors within the same run:
reading the file's bytes once, and the same matrix product in float32 on numbers that are in memory
already (a tenth of the vectors, ten times over). What is measured besides is the memory that the
process takes beyond the mapped file: its anonymous pages, at their highest.

Usage: python -m benchmarks.store_million [--rows 1000000] [--threads 2] [--folder DIR]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

import torch
from tqdm.auto import tqdm

from headwater.estimators.stored.answers import Answers
from headwater.forms import Gradients, Materialised
from headwater.forms.projected import PROJECTED
from headwater.query import TopK
from headwater.store import Manifest, StoreFolder, shard_contents

DIM, ROWS_PER_SHARD, K = 1024, 32_768, 10


def vectors(rows: int, seed: int) -> Gradients:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(rows, DIM, generator=generator)
    return Gradients({PROJECTED: Materialised(numbers)}, rows, torch.empty(0))


def make_store(folder: StoreFolder, rows: int) -> Manifest:
    manifest = Manifest(
        {"made_up": True, "dtype": "float16"}, weights=(1.0,), batch_size=0, complete=True
    )
    with folder.writing() as writer:
        for start in tqdm(range(0, rows, ROWS_PER_SHARD), desc="making the store", unit="shard"):
            count = min(ROWS_PER_SHARD, rows - start)
            contents = shard_contents(
                [vectors(count, start)],
                range(start, start + count),
                first=start,
                dtype=torch.float16,
                number=manifest.next_shard,
                binding=manifest.binding_digest,
            )
            manifest = manifest.with_shard(
                writer.write_shard(manifest.next_shard, contents, rows=count)
            )
        writer.commit(manifest)
    return manifest


def read_once(folder: StoreFolder, manifest: Manifest) -> None:
    buffer = bytearray(16 * 2**20)
    for entry in manifest.shards:
        with (folder.path / entry.file).open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


class Memory:
    """The highest number of anonymous bytes that the process held within."""

    def __enter__(self) -> Memory:
        self._before = self.highest = self._now()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def grown(self) -> int:
        """By how much it was more than at the beginning."""
        return self.highest - self._before

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            self.highest = max(self.highest, self._now())

    @staticmethod
    def _now() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def seconds(run: object, rounds: int = 5) -> float:
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run()  # type: ignore[operator]
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def main(given: list[str] | None = None) -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--folder", type=Path, default=None)
    options = arguments.parse_args(given)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = StoreFolder(Path(place))
        manifest = make_store(folder, options.rows)
        answers = Answers(folder.open_shards(manifest), manifest.weights)
        reading = seconds(lambda: read_once(folder, manifest))
        print(
            f"reading {sum(e.nbytes for e in manifest.shards) / 1e9:.2f} GB once: {reading:.2f} s"
        )
        part = vectors(options.rows // 10, 0).forms[PROJECTED].materialise()
        for count in (1, 100):
            queries = vectors(count, -count)
            left = queries.forms[PROJECTED].materialise()
            product = 10 * seconds(lambda left=left: left @ part.mT)
            with Memory() as memory:
                taken = seconds(lambda queries=queries: top_k(answers, queries))
            floor = max(reading, product)
            print(
                f"top-{K} of {count} queries: {taken:.2f} s, {taken / floor:.2f} times the larger "
                f"of reading and the product in memory ({product:.2f} s); "
                f"{memory.grown / 2**20:.0f} MB beyond the file"
            )
        check(answers, options.rows)


def top_k(answers: Answers, queries: Gradients) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices and scores of every query's strongest, strongest first."""
    return answers.pairs(TopK(queries.batch_size, k=K, side="proponents"), [queries]).result()


def check(answers: Answers, rows: int) -> None:
    """The first query's top-10 against all products in float64."""
    queries = vectors(1, -1)
    indices, scores = top_k(answers, queries)
    best = torch.empty(0, dtype=torch.float64)
    places = torch.empty(0, dtype=torch.int64)
    left = queries.forms[PROJECTED].materialise().double()
    for start in range(0, rows, ROWS_PER_SHARD):
        count = min(ROWS_PER_SHARD, rows - start)
        right = vectors(count, start).forms[PROJECTED].materialise()
        products = (left @ right.half().double().mT)[0]
        best = torch.cat([best, products])
        places = torch.cat([places, torch.arange(start, start + count)])
    order = best.argsort(descending=True, stable=True)[:K]
    # Stored in float16 with a scale per example, so to the rounding of eleven bits.
    agree = len(set(indices[0].tolist()) & set(places[order].tolist()))
    error = float((scores[0].double() - best[order]).abs().max() / best[order].abs().max())
    print(f"{agree} of {K} as by float64 products; scores differ by at most {error:.1e}")


if __name__ == "__main__":
    main()
