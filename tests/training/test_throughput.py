"""FLOPs of forward and backward passes equal a count by hand. Counting does not change the model."""

from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch
from einops import rearrange
from torch import nn
from torch.nn import functional

from triplane3d.training.throughput import count_flops, matmul_ceiling

WIDTH, TOKENS, HEADS = 16, 12, 2


class Attention(nn.Module):
    """One layer of attention with batch norm and dropout: state and random numbers that a count could change."""

    def __init__(self, frozen: bool = False):
        super().__init__()
        self.norm = nn.BatchNorm1d(TOKENS)
        self.inward, self.outward = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.inward.requires_grad_(not frozen)

    def forward(self, tokens, scale=1.0):
        mixed = self.inward(functional.dropout(self.norm(tokens)))
        query, key, value = rearrange(mixed, "b t (three h c) -> three b h t c", three=3, h=HEADS)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return {"loss": scale * self.outward(rearrange(mixed, "b h t c -> b t (h c)")).square().mean()}


@pytest.mark.parametrize("batch_size", [1, 5])
def test_attention_and_its_backward_are_counted_per_sample(batch_size):
    counted = count_flops(Attention(), [torch.randn(batch_size, TOKENS, WIDTH)], {"scale": 2.0}, batch_size=batch_size,
                          autocast=nullcontext())  # fmt: skip
    linear, attention = 2 * TOKENS * WIDTH * 4 * WIDTH, 2 * 2 * TOKENS**2 * WIDTH
    # Backward has two products for each forward product. The first layer needs both: the norm before it is trained.
    assert counted == 3 * (linear + attention)


@dataclass(frozen=True)
class Inputs:
    tokens: torch.Tensor
    number: int = 1


class WrappedAttention(Attention):
    """Takes its batch as a dataclass and a dictionary."""

    def forward(self, inputs, conditions):
        return super().forward(inputs.tokens + conditions["shift"], inputs.number)


def test_the_count_does_not_depend_on_how_the_batch_is_wrapped():
    tokens, options = torch.randn(8, TOKENS, WIDTH), {"batch_size": 8, "autocast": nullcontext()}
    wrapped = [Inputs(tokens), {"shift": torch.zeros(8, 1, 1)}]
    assert count_flops(WrappedAttention(), wrapped, {}, **options) == count_flops(Attention(), [tokens], {}, **options)


def test_gradients_of_frozen_weights_are_not_counted():
    options = {"batch_size": 2, "autocast": nullcontext()}
    tokens = [torch.randn(2, TOKENS, WIDTH)]
    all_trained, frozen = (count_flops(Attention(frozen=frozen), tokens, {}, **options) for frozen in (False, True))
    assert all_trained - frozen == 2 * TOKENS * WIDTH * 3 * WIDTH


def test_counting_does_not_change_the_module():
    module = Attention()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    count_flops(module, [torch.randn(4, TOKENS, WIDTH, generator=torch.Generator())], {}, batch_size=4,
                autocast=nullcontext())  # fmt: skip
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_the_ceiling_is_plausible():
    ceiling = matmul_ceiling(torch.device("cpu"), torch.float32, seconds=0.02)
    assert 1e9 < ceiling < 1e14
