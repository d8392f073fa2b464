"""Streams: shapes that are generated while training, on the device that trains, instead of read from files.

    source = ShapeStream(make_samples=..., make_batch=..., group_size=64, pool=1024, reuse=8, device="cuda")
    for batch in source.batches(range(1000), batch_size=32): ...

Generating a shape takes longer than one training step on it. Shapes therefore stay for a while in a pool on the device
and are used several times, each time with other points and photos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from triplane3d.data.procedural import FIRST_EVALUATION_SEED, ShapeBatch, generate_unnormalized
from triplane3d.data.sample import Sample
from triplane3d.data.seeds import derive_seed
from triplane3d.signals import ignore_signals

MakeSamples = Callable[[ShapeBatch, Generator], Sample]
MakeBatch = Callable[[Sample, Generator], Sample]

# The last number of `derive_seed(seed, number, rank, use)`. Each use of random numbers has seeds of its own.
SEEDS, MAKE_SAMPLES, MAKE_BATCH = 2, 3, 4


@dataclass(frozen=True, kw_only=True)
class ShapeStream:
    """A pool of shapes for each process, renewed one group at a time. Batches are taken from the pool at random.

    The stream is reproducible and can start at any batch. Group g depends on (seed, rank, g) only. Batch n depends on
    (seed, rank, n) and on the groups that are in the pool at n. A run that resumes at batch n therefore gets the same
    batches as an uninterrupted run.

    No process generates a shape that it or another process generated before, until all `FIRST_EVALUATION_SEED` seeds
    are used. Evaluation seeds are never used.
    """

    make_samples: MakeSamples
    """Turns generated shapes into what the pool stores of them: tensors with one row a shape."""
    make_batch: MakeBatch
    """Turns rows of the pool into a batch. It chooses points and photos anew with the generator."""
    group_size: int = 64
    """Shapes that are generated at once and that replace the oldest group of the pool."""
    pool: int = 1024
    """Shapes in the pool: a multiple of `group_size`."""
    reuse: int = 8
    """Mean number of batches that use a shape. A batch of B shapes has about B / reuse that are used the first time."""
    families: Sequence[str] | None = None
    """Names of families; all of `FAMILIES` by default."""
    device: str | torch.device = "cpu"

    def __post_init__(self) -> None:
        if min(self.group_size, self.reuse) < 1 or self.pool < self.group_size or self.pool % self.group_size:
            raise ValueError(
                f"a stream has group_size={self.group_size}, reuse={self.reuse} and pool={self.pool}, but group_size "
                "and reuse must be at least 1 and the pool must hold whole groups; set pool to a multiple of group_size"
            )

    def batches(
        self, numbers: range, *, batch_size: int, seed: int = 0, rank: int = 0, processes: int = 1, workers: int = 0
    ) -> Iterator[Sample]:
        """Batches `numbers` of the run with `seed`, in process `rank` of `processes`.

        `workers` worker processes generate the programs of the next shapes ahead of time; with 0 this process does it.
        A ValueError is raised if `batch_size` exceeds the pool.
        """
        if batch_size > self.pool:
            raise ValueError(f"a batch of {batch_size} shapes cannot be taken from a pool of {self.pool}; raise pool")
        if not numbers:
            return
        groups = self.pool // self.group_size
        # The pool gets a new group every `interval` batches. It then holds groups n // interval, …, + groups - 1.
        interval = max(1, round(self.reuse * self.group_size / batch_size))
        done, last = numbers.start // interval, (numbers.stop - 1) // interval + groups
        programs = iter(
            DataLoader(
                ShapeGroups(self, seed, rank, processes),
                batch_size=None,
                sampler=range(done, last),
                num_workers=workers,
                prefetch_factor=2 if workers else None,
                worker_init_fn=ignore_signals,
            )
        )
        pool: Sample = {}
        for number in numbers:
            while done < number // interval + groups:
                shapes = next(programs).to(self.device).normalized()
                samples = self.make_samples(shapes, self._generator(seed, done, rank, MAKE_SAMPLES))
                self._replace_group(pool, samples, done % groups)
                done += 1
            generator = self._generator(seed, number, rank, MAKE_BATCH)
            rows = torch.randperm(self.pool, generator=generator, device=self.device)[:batch_size]
            yield self.make_batch({name: values[rows] for name, values in pool.items()}, generator)

    def _replace_group(self, pool: Sample, samples: Sample, place: int) -> None:
        """Writes a new group of samples over group `place` of the pool, which is the oldest."""
        for name, values in samples.items():
            if name not in pool:
                pool[name] = values.new_empty((self.pool, *values.shape[1:]))
            pool[name][place * self.group_size : (place + 1) * self.group_size] = values
        if torch.device(self.device).type == "cuda":
            # Otherwise this work would be counted as part of the next training step.
            torch.cuda.synchronize(self.device)

    def _generator(self, *numbers: int) -> Generator:
        return torch.Generator(self.device).manual_seed(derive_seed(*numbers))


class ShapeGroups(Dataset):
    """The groups of a stream as programs: on the CPU, not yet normalised. Item g is group g."""

    def __init__(self, source: ShapeStream, seed: int, rank: int, processes: int) -> None:
        self.group_size, self.families = source.group_size, source.families
        self.first, self.rank, self.processes = derive_seed(seed, SEEDS) % FIRST_EVALUATION_SEED, rank, processes

    def seeds(self, group: int) -> list[int]:
        """The seeds of a group. The groups of all processes count upwards, in turn, from one seed of the run."""
        first = self.first + (group * self.processes + self.rank) * self.group_size
        return [(first + place) % FIRST_EVALUATION_SEED for place in range(self.group_size)]

    def __getitem__(self, group: int) -> ShapeBatch:
        return generate_unnormalized(self.seeds(group), families=self.families, azimuths="random")


def take_rows(values: Tensor, rows: Tensor) -> Tensor:
    """Rows `rows` (batch, count) of `values` (batch, many, …), separately for each entry of the batch."""
    return values[torch.arange(len(values), device=values.device)[:, None], rows]


def random_rows(batch: int, many: int, count: int, generator: Generator) -> Tensor:
    """`count` different integers below `many` for each entry of a batch: (batch, count)."""
    return torch.rand((batch, many), generator=generator, device=generator.device).topk(count, dim=1).indices
