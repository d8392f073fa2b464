"""Streams: shapes that no file holds, drawn by the device that learns from them while it learns.

    source = ShapeStream(make, visit, drawn=64, pool=1024, reuse=8, device="cuda")
    for batch in source.batches(range(1000), batch_size=32):

Drawing a shape takes longer than learning from it once, so shapes stay for a while in a pool on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from triplane3d.data.procedural import HELD_OUT_SEED, ShapeBatch, draw_unframed
from triplane3d.data.seeds import stream
from triplane3d.data.shards import Sample
from triplane3d.signals import ignore_signals

Make = Callable[[ShapeBatch, Generator], Sample]
Visit = Callable[[Sample, Generator], Sample]

# Which use of random numbers: `stream(seed, number, rank, use)`.
SEEDS, MAKE, VISIT = 2, 3, 4


@dataclass(frozen=True, kw_only=True)
class ShapeStream:
    """A pool of `pool` shapes for each process, renewed `drawn` shapes at a time.

    `make` turns drawn shapes into what the pool holds of them, and `visit` turns rows of the pool into a batch, drawing
    afresh which points, which photo. A shape is visited `reuse` times on the average before it leaves, so of a batch
    of B shapes about B / reuse are seen for the first time.

    Group g of `drawn` shapes depends on (seed, rank, g) alone, and batch n on (seed, rank, n) and on the groups that
    are in the pool at n: a pool can be filled for any n, and a run that goes on at n sees what it would have seen. No
    shape is drawn twice, by no process, before `HELD_OUT_SEED` of them have been drawn; none is ever held out.
    """

    make: Make
    visit: Visit
    drawn: int = 64
    pool: int = 1024
    reuse: int = 8
    families: Sequence[str] | None = None
    device: str | torch.device = "cpu"

    def __post_init__(self) -> None:
        if min(self.drawn, self.reuse) < 1 or self.pool < self.drawn or self.pool % self.drawn:
            raise ValueError(
                "a stream takes drawn >= 1, reuse >= 1 and a pool of one or more times `drawn` shapes, not "
                f"drawn={self.drawn}, reuse={self.reuse}, pool={self.pool}; set pool to a multiple of drawn"
            )

    def batches(
        self, numbers: range, *, batch_size: int, seed: int = 0, rank: int = 0, processes: int = 1, workers: int = 0
    ) -> Iterator[Sample]:
        """Batches `numbers` of the run of `seed`; `workers` processes draw the programs of the next shapes ahead."""
        if batch_size > self.pool:
            raise ValueError(f"a pool of {self.pool} shapes has no batch of {batch_size}; raise pool")
        if not numbers:
            return
        groups = self.pool // self.drawn
        stay = max(1, round(self.reuse * self.drawn / batch_size))  # batches between one renewal and the next
        done, last = numbers.start // stay, (numbers.stop - 1) // stay + groups
        programs = iter(
            DataLoader(
                Programs(self, seed, rank, processes),
                batch_size=None,
                sampler=range(done, last),
                num_workers=workers,
                prefetch_factor=2 if workers else None,
                worker_init_fn=ignore_signals,
            )
        )
        held: Sample = {}
        for number in numbers:
            while done < number // stay + groups:
                made = self.make(next(programs).to(self.device).framed(), self._generator(seed, done, rank, MAKE))
                self._put(held, made, done % groups)
                done += 1
            generator = self._generator(seed, number, rank, VISIT)
            rows = torch.randperm(self.pool, generator=generator, device=self.device)[:batch_size]
            yield self.visit({name: values[rows] for name, values in held.items()}, generator)

    def _put(self, held: Sample, made: Sample, place: int) -> None:
        """The new group takes the place of the oldest."""
        for name, values in made.items():
            if name not in held:
                held[name] = values.new_empty((self.pool, *values.shape[1:]))
            held[name][place * self.drawn : (place + 1) * self.drawn] = values
        if torch.device(self.device).type == "cuda":
            torch.cuda.synchronize(self.device)  # else the time this took is put down to the next step

    def _generator(self, *numbers: int) -> Generator:
        return torch.Generator(self.device).manual_seed(stream(*numbers))


class Programs(Dataset):
    """Group g of a stream's shapes as they come out of Python: not yet framed, on the CPU."""

    def __init__(self, source: ShapeStream, seed: int, rank: int, processes: int) -> None:
        self.drawn, self.families = source.drawn, source.families
        self.first, self.rank, self.processes = stream(seed, SEEDS) % HELD_OUT_SEED, rank, processes

    def seeds(self, group: int) -> list[int]:
        """Counted on from the seed of the run, the processes taking turns."""
        first = self.first + (group * self.processes + self.rank) * self.drawn
        return [(first + place) % HELD_OUT_SEED for place in range(self.drawn)]

    def __getitem__(self, group: int) -> ShapeBatch:
        return draw_unframed(self.seeds(group), families=self.families, azimuths="random")


def pick(values: Tensor, chosen: Tensor) -> Tensor:
    """Rows `chosen` (batch, count) of `values` (batch, many, …), for each entry of the batch its own."""
    return values[torch.arange(len(values), device=values.device)[:, None], chosen]


def some(batch: int, many: int, count: int, generator: Generator) -> Tensor:
    """`count` different numbers below `many` for each entry of a batch."""
    return torch.rand((batch, many), generator=generator, device=generator.device).topk(count, dim=1).indices
