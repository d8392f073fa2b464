"""A converted TripoSR gives the outputs of the original: for fixtures, random checkpoints, and from photo to images."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from convert.tiny_checkpoints import (
    FIXTURES,
    SMALL_TRIPOSR,
    SMALL_VIT,
    TRIPOSR_FIXTURE,
    agrees,
    arrays,
    block,
    lies_on_the_surface,
    random_triposr,
    save_triposr,
)
from diffusers.models.attention import FeedForward
from einops import rearrange
from reference import TripoSR, foreground
from reference.direct3d import Attention, sample_planes
from reference.triposr import PLANE_AXES
from safetensors.torch import load_file
from torch import Tensor, nn

from triplane3d import TriplaneReconstructionPipeline, TriplaneReconstructor
from triplane3d.convert.triposr import convert_triposr
from triplane3d.geometry.cameras import Camera
from triplane3d.pipelines.pipeline_triplane_reconstruction import FROM_WORLD


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def convert(folder: Path, settings: dict, vit: dict | None, weights: dict[str, Tensor], **options: Any) -> Path:
    save_triposr(folder / "in", settings, vit, weights, pickled=options.pop("pickled", False))
    return convert_triposr(folder / "in", folder / "out", **options)


def channels_first(images: Tensor) -> Tensor:
    return rearrange(images, "batch row column channel -> batch channel row column")


# ---- outputs of the published code


@pytest.fixture(scope="module", params=["safetensors", "pickle"])
def fixture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TriplaneReconstructionPipeline:
    weights = load_file(FIXTURES / "triposr.safetensors")
    settings, vit = TRIPOSR_FIXTURE["config"], TRIPOSR_FIXTURE["vit"]
    folder = tmp_path_factory.mktemp("fixture")
    out = convert(folder, settings, vit, weights, pickled=request.param == "pickle")
    return TriplaneReconstructionPipeline.from_pretrained(out)


def test_planes_are_those_of_the_fixture(fixture: TriplaneReconstructionPipeline) -> None:
    model, data = fixture.reconstructor, arrays("triposr")
    tokens = model.encode_image(channels_first(data["image"][None]))
    assert agrees(tokens, data["image_tokens"][:, 0].mT)
    assert agrees(model.decode(tokens), data["scene_codes"])
    for image, codes in (("image", "scene_codes"), ("image2", "scene_codes2")):
        assert agrees(model(channels_first(data[image][None])).planes, data[codes])


def test_the_field_is_that_of_the_fixture(fixture: TriplaneReconstructionPipeline) -> None:
    data = arrays("triposr")
    field = fixture.reconstructor.field(data["scene_codes"])
    points = data["points"][None]
    assert agrees(field.unit.occupancy(field.to_unit(points))[..., None], data["density"][None])
    assert agrees(field.density(points)[..., None].log(), data["density_act"][None].log())
    assert agrees(field.color(points), data["color"][None])


def test_surface_and_image_are_those_of_the_fixture(fixture: TriplaneReconstructionPipeline) -> None:
    data = arrays("triposr")
    codes, level = data["scene_codes"], float(data["mesh_threshold"])
    density = fixture(planes=codes, resolution=23, output_type="pt").meshes
    assert agrees(density.permute(0, 3, 1, 2).log()[0], data["grid_density"].log(), 1e-4)
    (mesh,) = fixture(planes=codes, resolution=23, level=level).meshes
    assert on_the_surface(mesh.vertices, data["grid_density"], 0.87, level)
    rendered = fixture.render(1, codes, size=16).color[0, 0]
    assert agrees(rendered, data["render_1view_16"])


def on_the_surface(vertices: np.ndarray, grid: Tensor, radius: float, level: float) -> bool:
    """Whether vertices are on the level set of `grid`. Those that close the mesh at the box are not checked.

    `vertices` are in the library's frame, `grid` in the network's.
    """
    cells = len(grid) - 1
    indices = (torch.from_numpy(vertices[:, FROM_WORLD]).float() / radius + 1) / 2 * cells
    within = ((indices > 0.01) & (indices < cells - 0.01)).all(dim=1)
    assert within.float().mean() > 0.3
    return lies_on_the_surface(indices[within], grid, torch.tensor(level))


# ---- other configs of the family


class VariedTripoSR(TripoSR):
    """TripoSR with options of the published classes that the published config does not use."""

    def __init__(self, settings: dict[str, Any]):
        super().__init__(settings)
        backbone, mlp, self.options = settings["backbone"], settings["decoder"], settings["renderer"]
        dim = backbone["num_attention_heads"] * backbone["attention_head_dim"]
        for each in self.backbone.transformer_blocks:
            bias, heads = backbone.get("attention_bias", False), backbone["num_attention_heads"]
            each.attn1 = Attention(dim, dim, heads, bias)
            each.attn2 = Attention(dim, backbone["cross_attention_dim"], heads, bias)
            each.ff = FeedForward(dim, activation_fn=backbone.get("activation_fn", "geglu"))
        for layer in self.image_tokenizer["model"].encoder["layer"].children():
            for name, linear in layer.attention["attention"].items():
                if not settings["vit"]["qkv_bias"]:
                    layer.attention["attention"][name] = nn.Linear(linear.in_features, linear.out_features, bias=False)
        widths = [mlp["in_channels"]] + [mlp["n_neurons"]] * mlp["n_hidden_layers"] + [4]
        activation = {"relu": nn.ReLU, "silu": nn.SiLU}[mlp.get("activation", "relu")]
        layers = [
            layer
            for pair in zip(widths, widths[1:], strict=False)
            for layer in (nn.Linear(*pair, bias=mlp.get("bias", True)), activation())
        ]
        self.decoder = nn.ModuleDict({"layers": nn.Sequential(*layers[:-1])})

    def query(self, scene_code: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        features = sample_planes(scene_code[None], points[None] / self.radius, PLANE_AXES)[0]
        if self.options.get("feature_reduction") == "mean":
            features = features.unflatten(-1, (3, -1)).mean(dim=1)
        raw_density, raw_color = self.decoder["layers"](features).split([1, 3], dim=-1)
        activate = {"exp": torch.exp, "trunc_exp": torch.exp, "softplus": F.softplus}
        density = activate[self.options.get("density_activation", "trunc_exp")](raw_density + self.density_bias)
        return raw_density, raw_color, density, torch.sigmoid(raw_color)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = deepcopy(base)
    for key, value in changes.items():
        result[key] = {**result[key], **value} if isinstance(value, dict) else value
    return result


VARIATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "another ViT": (
        {"cond_image_size": 30, "backbone": {"cross_attention_dim": 30, "num_layers": 1}},
        {"hidden_size": 30, "num_attention_heads": 3, "num_hidden_layers": 3, "patch_size": 6, "intermediate_size": 17,
         "layer_norm_eps": 1e-6, "qkv_bias": False},
    ),
    "mean of features, softplus, relu, no bias": (
        {"decoder": {"in_channels": 6, "activation": "relu", "bias": False, "n_hidden_layers": 1},
         "renderer": {"feature_reduction": "mean", "density_activation": "softplus", "radius": 1.05,
                      "density_bias": 0.5, "num_samples_per_ray": 19}},
        {"image_size": 32},
    ),
    "tokens wider than the transformer, biases": (
        {"cond_image_size": 45, "tokenizer": {"num_channels": 64, "plane_size": 3},
         "post_processor": {"in_channels": 64}, "renderer": {"density_activation": "trunc_exp", "radius": 0.5},
         "backbone": {"attention_bias": True, "activation_fn": "gelu", "num_attention_heads": 4,
                      "attention_head_dim": 12, "num_layers": 3}},
        {},
    ),
    "deep field, approximate": (
        {"decoder": {"n_hidden_layers": 5, "n_neurons": 20}, "backbone": {"activation_fn": "gelu-approximate"},
         "renderer": {"density_bias": -2.5}},
        {"num_hidden_layers": 1, "patch_size": 4},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIATIONS)
def test_random_checkpoints_of_other_configs_give_equal_outputs(name: str, tmp_path: Path) -> None:
    seed = list(VARIATIONS).index(name)
    settings, vit = merged(SMALL_TRIPOSR, VARIATIONS[name][0]), {**SMALL_VIT, **VARIATIONS[name][1]}
    theirs = random_triposr(settings, vit, seed, VariedTripoSR)
    out = convert(tmp_path, settings, vit, theirs.state_dict(), pickled=seed % 2 == 0)
    pipe = TriplaneReconstructionPipeline.from_pretrained(out)
    model, size, radius = pipe.reconstructor, settings["cond_image_size"], settings["renderer"]["radius"]

    for height, width in ((size, size), (2 * size + 3, 2 * size + 3), (size - 5, size + 11)):
        images = torch.rand(2, height, width, 3)
        tokens = model.encode_image(channels_first(images))
        assert agrees(tokens, theirs.image_tokens(theirs.resize(images)))
        planes, codes = model(channels_first(images)).planes, theirs(images)
        assert agrees(planes, codes)

    points = (torch.rand(300, 3) * 2.4 - 1.2) * radius
    raw, _, density, color = theirs.query(codes[0], points)
    field = model.field(planes)[0]
    assert agrees(field.unit(field.to_unit(points)), raw[:, 0])
    assert agrees(field.density(points), density[:, 0]) and agrees(field.color(points), color)
    check_surface_and_images(pipe, theirs, codes[:1])


def check_surface_and_images(pipe: TriplaneReconstructionPipeline, theirs: TripoSR, codes: Tensor) -> None:
    grid = theirs.dense_density(codes[0], 17)
    assert agrees(pipe(planes=codes, resolution=16, output_type="pt").meshes[0].permute(2, 0, 1), grid, 1e-4)
    level = float(grid[1:-1, 1:-1, 1:-1].median())
    (mesh,) = pipe(planes=codes, resolution=16, level=level).meshes
    assert on_the_surface(mesh.vertices, grid, theirs.radius, level)
    points = torch.from_numpy(mesh.vertices[:50, FROM_WORLD].copy()).float()
    assert mesh.vertex_colors is not None and mesh.check().watertight
    assert pipe.reconstructor.field(codes).color(points[None]).shape == (1, 50, 3)
    for azimuth, elevation in ((0.0, 0.0), (70.0, 25.0), (-155.0, -40.0)):
        camera = Camera.orbit(azimuth, elevation, field_of_view=40.0, distance=1.9)
        rendered = pipe.render(camera, codes, size=14).color[0, 0]
        expected = theirs.render(codes[0], height=14, width=14, azimuth=azimuth, elevation=elevation)
        assert agrees(rendered, expected, 1e-4), (azimuth, elevation)


def test_each_block_gives_the_output_of_the_reference(tmp_path: Path) -> None:
    theirs = random_triposr(SMALL_TRIPOSR, SMALL_VIT, 21)
    out = convert(tmp_path, SMALL_TRIPOSR, SMALL_VIT, theirs.state_dict())
    model = TriplaneReconstructor.from_pretrained(out, subfolder="reconstructor")
    tokens, context = torch.randn(2, 10, 32), torch.randn(2, 7, 24)
    for ours, other in zip(model.transformer_blocks, theirs.backbone.transformer_blocks, strict=True):
        assert agrees(ours(tokens, context), other(tokens, context))
    layers = theirs.image_tokenizer["model"].encoder["layer"]
    for ours, other in zip(model.image_encoder.blocks, layers, strict=True):
        assert agrees(ours(context), other(context))


# ---- the whole pipeline


def test_planes_images_and_mesh_of_a_photo_equal_those_of_the_reference(tmp_path: Path) -> None:
    theirs = random_triposr(SMALL_TRIPOSR, SMALL_VIT, 22)
    out = convert(tmp_path, SMALL_TRIPOSR, SMALL_VIT, theirs.state_dict(), variant="bf16", max_shard_size="20KB")
    assert len(list((out / "reconstructor").glob("*.bf16-*-of-*.safetensors"))) > 1
    pipe = TriplaneReconstructionPipeline.from_pretrained(out)
    assert pipe.config.level == 25 and pipe.config.framing == "triposr"
    rgba = np.asarray(block())
    image = torch.from_numpy(foreground(rgba)).float()[None] / 255
    codes = theirs(image)
    output = pipe(block(), output_type="planes")
    assert agrees(output.planes, codes, 1e-4) and torch.equal(output.meshes, output.planes)
    check_surface_and_images(pipe, theirs, codes)
    # The first view is the photo's camera, and images of the last result need no planes.
    views = pipe.render(4, size=12).color[0]
    for view, azimuth in zip(views, (0.0, 90.0, 180.0, 270.0), strict=True):
        assert agrees(view, theirs.render(codes[0], height=12, width=12, azimuth=azimuth), 1e-4)

    half = TriplaneReconstructionPipeline.from_pretrained(out, variant="bf16", torch_dtype=torch.bfloat16)
    state = half.reconstructor.state_dict()
    assert all(torch.equal(tensor.bfloat16(), state[name]) for name, tensor in pipe.reconstructor.state_dict().items())


def test_a_photo_of_the_exact_size_is_not_resampled(tmp_path: Path) -> None:
    theirs = random_triposr(SMALL_TRIPOSR, SMALL_VIT, 23)
    out = convert(tmp_path, SMALL_TRIPOSR, SMALL_VIT, theirs.state_dict())
    pipe = TriplaneReconstructionPipeline.from_pretrained(out)
    rgba = np.random.default_rng(1).integers(0, 256, (40, 29, 4), dtype=np.uint8)
    rgba[..., 3] = 0
    rgba[4:32, 3:25, 3] = 255  # the published code omits one of 28 rows: 27 / 0.85 = 31.8
    rgba[32, 3:25, 3] = 255
    framed = foreground(rgba)
    assert framed.shape == (32, 32, 3)
    assert agrees(pipe(rgba, output_type="planes").planes, theirs(torch.from_numpy(framed).float()[None] / 255), 1e-4)


def test_without_a_file_the_vision_transformer_is_vit_b16(tmp_path: Path) -> None:
    weights = {name: tensor for name, tensor in random_triposr(SMALL_TRIPOSR, SMALL_VIT, 24).state_dict().items()}
    with pytest.raises(ValueError, match="cross_attention_dim is 24, but the other settings imply 768"):
        convert(tmp_path, SMALL_TRIPOSR, None, weights)
    assert not (tmp_path / "out").exists()
