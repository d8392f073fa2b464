"""Streams: reproducible from any batch on, without evaluation seeds, each shape used as often as configured."""

from collections import Counter

import pytest
import torch

from triplane3d.data.procedural import FIRST_EVALUATION_SEED
from triplane3d.data.streams import ShapeGroups, ShapeStream, random_rows, take_rows

FAMILIES = ("rocket", "car")


def numbered(group_size: int = 4, pool: int = 12, reuse: int = 3, **options) -> ShapeStream:
    """A stream whose batches hold an identifier of each shape (its scale) and the random numbers of both callbacks."""

    def make_samples(shapes, generator):
        return {"shape": shapes.scale, "made": torch.rand(len(shapes), generator=generator)}

    def make_batch(rows, generator):
        return {**rows, "use": torch.rand(len(rows["shape"]), generator=generator)}

    return ShapeStream(make_samples=make_samples, make_batch=make_batch, group_size=group_size, pool=pool, reuse=reuse,
                       families=FAMILIES, **options)  # fmt: skip


def test_a_stream_resumed_at_any_batch_gives_the_batches_of_an_uninterrupted_one() -> None:
    whole = list(numbered().batches(range(9), batch_size=4, seed=1))
    for start in (1, 3, 8):
        later = list(numbered().batches(range(start, 9), batch_size=4, seed=1))
        for expected, found in zip(whole[start:], later, strict=True):
            assert all(torch.equal(expected[name], found[name]) for name in expected)
    other = next(numbered().batches(range(1), batch_size=4, seed=2))
    assert not torch.equal(other["shape"], whole[0]["shape"])


def test_worker_processes_give_the_same_batches() -> None:
    loop, worker = (list(numbered().batches(range(4), batch_size=4, workers=workers)) for workers in (0, 1))
    assert all(torch.equal(one[name], other[name]) for one, other in zip(loop, worker, strict=True) for name in one)


def test_a_shape_is_used_reuse_times_on_average_and_at_most_once_in_a_batch() -> None:
    batches = list(numbered(group_size=4, pool=8, reuse=4).batches(range(60), batch_size=4))
    assert all(batch["made"].unique().numel() == 4 for batch in batches)
    uses = Counter(float(made) for batch in batches for made in batch["made"])
    # The first and the last groups are in the pool for fewer batches than the others.
    settled = list(uses.values())[12:-12]
    assert 3 <= sum(settled) / len(settled) <= 5
    assert torch.cat([batch["use"] for batch in batches]).unique().numel() == 240


def test_processes_use_different_seeds_and_no_evaluation_seed() -> None:
    processes = [ShapeGroups(numbered(), seed=5, rank=rank, processes=2) for rank in range(2)]
    seeds = [seed for group in range(50) for groups in processes for seed in groups.seeds(group)]
    assert len(set(seeds)) == 400
    processes[0].first = FIRST_EVALUATION_SEED - 2
    assert processes[0].seeds(0) == [FIRST_EVALUATION_SEED - 2, FIRST_EVALUATION_SEED - 1, 0, 1]


@pytest.mark.parametrize("options", [{"pool": 10}, {"pool": 0}, {"reuse": 0}, {"group_size": 0}])
def test_a_pool_of_incomplete_groups_is_an_error(options) -> None:
    with pytest.raises(ValueError, match="set pool to a multiple of group_size"):
        numbered(**options)


def test_a_batch_larger_than_the_pool_is_an_error() -> None:
    with pytest.raises(ValueError, match="a batch of 13 shapes cannot be taken from a pool of 12; raise pool"):
        next(numbered().batches(range(1), batch_size=13))


def test_rows_are_taken_without_repetition_for_each_entry() -> None:
    values = torch.arange(30).view(3, 10)
    taken = take_rows(values, random_rows(3, 10, 6, torch.Generator().manual_seed(0)))
    assert all(row.unique().numel() == 6 for row in taken)
    assert torch.equal(taken // 10, torch.arange(3)[:, None].expand(3, 6))
