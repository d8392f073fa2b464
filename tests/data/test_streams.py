"""Streams: a function of seed and place, never held out, each shape visited as often as it was said."""

from collections import Counter

import pytest
import torch

from triplane3d.data.procedural import HELD_OUT_SEED
from triplane3d.data.streams import Programs, ShapeStream, pick, some

FAMILIES = ("rocket", "car")


def numbered(drawn: int = 4, pool: int = 12, reuse: int = 3, **options) -> ShapeStream:
    """A stream whose samples say which shape they are, by its scale, and what was drawn at this visit."""

    def make(shapes, generator):
        return {"shape": shapes.scale, "made": torch.rand(len(shapes), generator=generator)}

    def visit(held, generator):
        return {**held, "visit": torch.rand(len(held["shape"]), generator=generator)}

    return ShapeStream(make=make, visit=visit, drawn=drawn, pool=pool, reuse=reuse, families=FAMILIES, **options)


def test_a_stream_taken_up_anywhere_goes_on_as_it_would_have() -> None:
    whole = list(numbered().batches(range(9), batch_size=4, seed=1))
    for start in (1, 3, 8):
        later = list(numbered().batches(range(start, 9), batch_size=4, seed=1))
        for expected, found in zip(whole[start:], later, strict=True):
            assert all(torch.equal(expected[name], found[name]) for name in expected)
    other = next(numbered().batches(range(1), batch_size=4, seed=2))
    assert not torch.equal(other["shape"], whole[0]["shape"])


def test_worker_processes_draw_the_same_shapes() -> None:
    loop, worker = (list(numbered().batches(range(4), batch_size=4, workers=workers)) for workers in (0, 1))
    assert all(torch.equal(one[name], other[name]) for one, other in zip(loop, worker, strict=True) for name in one)


def test_a_shape_is_visited_as_often_as_it_was_said_and_never_twice_in_a_batch() -> None:
    batches = list(numbered(drawn=4, pool=8, reuse=4).batches(range(60), batch_size=4))
    assert all(batch["made"].unique().numel() == 4 for batch in batches)
    visits = Counter(float(made) for batch in batches for made in batch["made"])
    # The first and the last groups are there for less than their time.
    settled = list(visits.values())[12:-12]
    assert 3 <= sum(settled) / len(settled) <= 5
    assert torch.cat([batch["visit"] for batch in batches]).unique().numel() == 240


def test_processes_draw_shapes_of_their_own_and_none_that_is_held_out() -> None:
    processes = [Programs(numbered(), seed=5, rank=rank, processes=2) for rank in range(2)]
    seeds = [seed for group in range(50) for programs in processes for seed in programs.seeds(group)]
    assert len(set(seeds)) == 400
    processes[0].first = HELD_OUT_SEED - 2
    assert processes[0].seeds(0) == [HELD_OUT_SEED - 2, HELD_OUT_SEED - 1, 0, 1]


@pytest.mark.parametrize("options", [{"pool": 10}, {"pool": 0}, {"reuse": 0}, {"drawn": 0}])
def test_a_pool_that_groups_do_not_fill_is_refused(options) -> None:
    with pytest.raises(ValueError, match="set pool to a multiple of drawn"):
        numbered(**options)


def test_a_batch_larger_than_the_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="a pool of 12 shapes has no batch of 13; raise pool"):
        next(numbered().batches(range(1), batch_size=13))


def test_picked_rows_are_different_ones_of_their_own_entry() -> None:
    values = torch.arange(30).view(3, 10)
    picked = pick(values, some(3, 10, 6, torch.Generator().manual_seed(0)))
    assert all(row.unique().numel() == 6 for row in picked)
    assert torch.equal(picked // 10, torch.arange(3)[:, None].expand(3, 6))
