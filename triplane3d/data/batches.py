"""Numbered training batches: batch n of a run depends on the seed and on n alone.

A run that stops and resumes at batch n therefore reads the batches that it would have read without the stop.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import Dataset

from triplane3d.data.seeds import derive_seed


@runtime_checkable
class SampleSource(Protocol):
    """A map-style data set whose random choices (points, photo, mirroring) come from `generator`."""

    generator: torch.Generator | None

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Tensor]: ...


def gather(source: SampleSource, indices: Sequence[int], generator: torch.Generator) -> dict[str, Tensor]:
    """The samples at `indices`, stacked along a new first axis; `generator` makes their random choices."""
    source.generator = generator
    samples = [source[index] for index in indices]
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


class NumberedBatches(Dataset):
    """Batch n of a run. `source` is shuffled once per epoch, and each process reads its own part of a batch.

    Args:
        source: the samples; `ValueError` if it is empty.
        batch_size: samples per process.
        seed: seed of the run.
        rank: number of this process, below `processes`.
        processes: number of processes of the run.
    """

    def __init__(self, source: SampleSource, batch_size: int, *, seed: int = 0, rank: int = 0, processes: int = 1):
        if len(source) == 0:
            raise ValueError("the data set is empty: there is nothing to train on")
        self.source, self.batch_size = source, batch_size
        self.seed, self.rank, self.processes = seed, rank, processes
        self._orders: dict[int, list[int]] = {}

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        first = (number * self.processes + self.rank) * self.batch_size
        indices = [self._order(place // len(self.source))[place % len(self.source)]
                   for place in range(first, first + self.batch_size)]  # fmt: skip
        generator = torch.Generator().manual_seed(derive_seed(self.seed, number, self.rank))
        return gather(self.source, indices, generator)

    def _order(self, epoch: int) -> list[int]:
        """The shuffled indices of an epoch; those of the previous epoch are kept, since a batch can span both."""
        if epoch not in self._orders:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch, -1))
            self._orders = {old: order for old, order in self._orders.items() if old == epoch - 1}
            self._orders[epoch] = torch.randperm(len(self.source), generator=generator).tolist()
        return self._orders[epoch]
