"""At the published sizes, every tensor of the checkpoints becomes a parameter, and every parameter has a tensor."""

from collections import Counter
from math import prod

import pytest
import torch
from convert.published_keys import LISTS, listing, path, published, rows
from reference import Direct3DTransformer, Direct3DVAE, TripoSR
from reference.triposr import PUBLISHED

from triplane3d.convert.triposr import UNUSED

SIZES = {"direct3d": (276 + 440, 119_275_265 + 609_987_008), "triposr": (549, 419_275_628)}


@pytest.mark.parametrize("name", LISTS)
def test_every_published_tensor_is_read_once(name: str) -> None:
    shapes = published(name)
    assert len(shapes) == SIZES[name][0]
    uses = Counter(key for _, _, key, _ in rows(name))
    assert uses.keys() == shapes.keys()
    # The last layer of TripoSR's field has density and colour, which are two layers here.
    shared = {key for key, count in uses.items() if count > 1}
    assert shared == ({"decoder.layers.18.weight", "decoder.layers.18.bias"} if name == "triposr" else set())
    assert all(uses[key] == 2 for key in shared)


@pytest.mark.parametrize("name", LISTS)
def test_every_number_is_kept(name: str) -> None:
    """The number of values stays the same, except for resampled positions and unused tensors."""
    shapes = published(name)
    if name == "direct3d":
        assert sum(map(prod, shapes.values())) == SIZES[name][1]
    ours = sum(prod(shape) for place, shape, _, _ in rows(name) if place != "(unused)")
    unused = sum(prod(shapes[key]) for key in UNUSED if key in shapes)
    resampled = 768 * (32**2 - 14**2) if name == "triposr" else 0
    assert ours == sum(map(prod, shapes.values())) - unused + resampled


@pytest.mark.parametrize("name", LISTS)
def test_shapes_are_equal_except_for_reshaped_tensors(name: str) -> None:
    others = [key for place, shape, key, theirs in rows(name) if shape != theirs and place != "(unused)"]
    assert sorted(others) == {
        # convolutions that are linear layers here
        "direct3d": ["pos_embed.proj.weight", "pre_latent.weight"],
        "triposr": ["decoder.layers.18.bias"] * 2 + ["decoder.layers.18.weight"] * 2
        + ["image_tokenizer.model.embeddings.position_embeddings"],
    }[name]  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_the_lists_are_current(name: str) -> None:
    assert path(name).read_text() == listing(name), "run `python -m convert.published_keys` in tests/"


def test_the_published_lists_equal_those_of_the_reference_code() -> None:
    with torch.device("meta"):
        direct3d = {**Direct3DVAE().state_dict(), **Direct3DTransformer().state_dict()}
        triposr = TripoSR(PUBLISHED).state_dict()
    for name, state in (("direct3d", direct3d), ("triposr", triposr)):
        assert {key: tuple(tensor.shape) for key, tensor in state.items()} == published(name)
