"""Background removal: the chosen method or the best available one finds the object, with confidence and warnings."""

import hashlib
import importlib
import logging
import os
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from background_scenes import draw_scene
from PIL import Image
from torch import Tensor
from transformers import (
    SegformerConfig,
    SegformerForSemanticSegmentation,
    VitDetConfig,
    VitMatteConfig,
    VitMatteForImageMatting,
)
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil
from transformers.models.vitmatte.image_processing_pil_vitmatte import VitMatteImageProcessorPil

from triplane3d.images.background import (
    MATTING_VARIABLE,
    check_background_removal,
    rembg_model,
    removal,
    remove_background,
)
from triplane3d.images.background.mask_warnings import shape_warnings


def disc(size: int = 160, radius: float = 0.5, at: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """A disc of `radius` about `at` (x, y), in halves of the picture."""
    axis = torch.linspace(-1, 1, size)
    return ((axis[:, None] - at[1]) ** 2 + (axis[None] - at[0]) ** 2 < radius**2).float()


def photographed(mask: Tensor, backdrop: Tensor) -> Tensor:
    """A striped red object before a backdrop (3, h, w), opaque."""
    stripes = torch.linspace(0, 20, mask.shape[1]).sin() * 0.1
    color = torch.stack([0.8 + stripes.expand_as(mask), 0.2 + 0 * mask, 0.15 + 0 * mask])
    return torch.cat([color * mask + backdrop * (1 - mask), torch.ones_like(mask)[None]])


def backdrops() -> dict[str, Tensor]:
    noise = torch.randn(3, 160, 160, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0.55, 0.95, 160).expand(3, 160, 160)
    return {"white": torch.ones(3, 160, 160), "ramp": ramp, "grain": (0.7 + 0.03 * noise).clamp(0, 1)}


def overlap(rgba: Tensor, truth: Tensor) -> float:
    found = rgba[3] > 0.5
    return float((found & truth.bool()).sum() / (found | truth.bool()).sum())


@pytest.fixture(autouse=True)
def _no_segmentation_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hides the models that are on the machine that runs the tests."""
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "no-models"))
    monkeypatch.delenv(MATTING_VARIABLE, raising=False)


@pytest.fixture(params=["grabcut", "border"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "border":
        monkeypatch.setattr(removal, "find_spec", lambda name: None)
    else:
        pytest.importorskip("cv2")
    return request.param


@pytest.mark.parametrize("backdrop", ["white", "ramp", "grain"])
def test_the_object_is_found_on_plain_backdrops(backdrop: str, method: str) -> None:
    truth = disc()
    rgba, report = remove_background(photographed(truth, backdrops()[backdrop]))
    assert overlap(rgba, truth) > 0.95
    assert report.method == method and report.warning is None
    assert report.coverage == pytest.approx(float(truth.mean()), rel=0.05)
    assert 0.95 < report.confidence <= 1


def test_the_same_photo_gets_the_same_mask(method: str) -> None:
    """The state of the random generators has no influence. GrabCut uses OpenCV's generator."""
    photo = photographed(disc(), backdrops()["grain"])
    masks = []
    for seed in (1, 2):
        if method == "grabcut":
            importlib.import_module("cv2").setRNGSeed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        masks.append(remove_background(photo)[0])
    assert torch.equal(*masks)


def test_confidence_falls_with_the_quality_of_the_mask(method: str) -> None:
    """The same disc before a plain backdrop, and before one with noise and a similar colour."""
    truth, noise = disc(), torch.randn(3, 160, 160, generator=torch.Generator().manual_seed(1))
    blotches = torch.nn.functional.avg_pool2d(noise[None], 9, stride=1, padding=4)[0] * 9
    color = torch.tensor([0.8, 0.2, 0.15])[:, None, None]
    plain = remove_background(photographed(truth, backdrops()["white"]))
    textured = remove_background(photographed(truth, (color + 0.15 * blotches).clamp(0, 1)))
    assert overlap(plain[0], truth) > 0.95 > 0.8 > overlap(textured[0], truth)
    assert plain[1].confidence > 0.95 > textured[1].confidence
    assert textured[1].warning is not None


def test_the_alpha_of_a_photo_is_its_mask() -> None:
    photo = torch.cat([torch.rand(3, 160, 160), disc()[None]])
    rgba, report = remove_background(photo)
    assert torch.equal(rgba, photo)
    assert report.method == "alpha" and report.warning is None and report.confidence == 1


def test_an_opaque_alpha_is_not_used_as_a_mask() -> None:
    photo = photographed(disc(), backdrops()["white"])
    assert remove_background(photo)[1].method != "alpha"
    with pytest.raises(ValueError, match="mug.png has no transparent pixel"):
        remove_background(photo, method="alpha", name="mug.png")


def test_the_method_none_returns_the_photo_unchanged() -> None:
    opaque = photographed(disc(), backdrops()["white"])
    clear = torch.cat([torch.rand(3, 160, 160), disc()[None]])
    for photo in (opaque, clear):
        rgba, report = remove_background(photo, method="none")
        assert torch.equal(rgba, photo)
        assert report.method == "none" and report.confidence == 1 and report.warning is None
        assert report.coverage == pytest.approx(float(photo[3].mean()))


def test_a_named_method_replaces_the_alpha() -> None:
    half = torch.ones(1, 160, 160)
    half[:, :, :4] = 0
    photo = torch.cat([photographed(disc(), backdrops()["white"])[:3], half])
    rgba, report = remove_background(photo, method="border")
    assert report.method == "border"
    assert overlap(rgba, disc()) > 0.9
    assert bool((rgba[3] <= half[0]).all()), "transparent pixels stay transparent"


@pytest.mark.parametrize("photo", [torch.zeros(4, 32, 32), torch.ones(4, 32, 32)], ids=["transparent", "blank"])
def test_a_photo_without_an_object_raises_an_error_with_its_name(photo: Tensor) -> None:
    with pytest.raises(ValueError, match="mug.png.*no object"):
        remove_background(photo, name="mug.png")


def test_a_photo_without_background_is_kept_and_reported(caplog: pytest.LogCaptureFixture, method: str) -> None:
    noise = torch.from_numpy(np.random.default_rng(0).random((3, 64, 64), dtype=np.float32))
    with caplog.at_level(logging.WARNING):
        rgba, report = remove_background(torch.cat([noise, torch.ones(1, 64, 64)]), name="wall.png")
    assert report.method == "none" and report.coverage == 1 and "whole photo" in report.warning
    assert report.confidence == 0
    assert "wall.png" in caplog.text
    assert bool((rgba[3] == 1).all())


def test_two_objects_are_reported(method: str) -> None:
    pair = disc(radius=0.3, at=(-0.45, 0)) + disc(radius=0.3, at=(0.45, 0))
    _, report = remove_background(photographed(pair, backdrops()["white"]))
    assert report.warning.startswith("2 separate objects") and "crop" in report.warning
    _, report = remove_background(torch.cat([torch.rand(3, 160, 160), pair[None]]))
    assert report.method == "alpha" and report.warning.startswith("2 separate objects")


def test_separate_parts_of_a_see_through_object_are_one_object() -> None:
    cup_and_foot = np.zeros((96, 96), dtype=bool)
    cup_and_foot[10:40, 30:66] = cup_and_foot[60:80, 30:66] = True
    assert shape_warnings(cup_and_foot)[0].startswith("2 separate objects")
    assert not shape_warnings(cup_and_foot, see_through=True)
    speck = disc(radius=0.4) + disc(radius=0.08, at=(0.8, 0.8))
    assert remove_background(photographed(speck, backdrops()["white"]))[1].warning is None


@pytest.mark.parametrize(
    ("side", "at"), [("left", (-0.9, 0)), ("right", (0.9, 0)), ("top", (0, -0.9)), ("bottom", (0, 0.9))]
)
def test_an_object_cut_off_by_the_photo_is_reported(side: str, at: tuple[float, float], method: str) -> None:
    cut = disc(at=at)
    for photo in (photographed(cut, backdrops()["grain"]), torch.cat([torch.rand(3, 160, 160), cut[None]])):
        warning = remove_background(photo)[1].warning
        assert f"cut off at the photo's {side};" in warning and "further away" in warning


def test_a_picture_trimmed_to_its_object_is_not_cut_off() -> None:
    trimmed = torch.cat([torch.rand(3, 80, 80), disc(80, radius=1.0)[None]])
    assert remove_background(trimmed)[1].warning is None


def install_rembg(monkeypatch: pytest.MonkeyPatch, mask: Tensor) -> list[str]:
    """Mocks of rembg and onnxruntime. Returns the list to which a session adds the file that it loads."""
    loaded: list[str] = []

    class Session:
        """Like a session of rembg: a class method finds the file, or downloads it."""

        def __init__(self, model_name: str, options: object) -> None:
            loaded.append(self.download_models())

        @classmethod
        def download_models(cls) -> str:
            pytest.fail("rembg would download a model")

        @classmethod
        def name(cls) -> str:
            return "u2net"

    def remove(picture: Image.Image, *, session: Session, only_mask: bool) -> Image.Image:
        assert isinstance(session, Session) and only_mask and picture.mode == "RGB"
        return Image.fromarray((mask.numpy() * 255).astype(np.uint8)).resize(picture.size)

    modules: dict[str, Any] = {name: ModuleType(name) for name in ("rembg", "rembg.sessions", "onnxruntime")}
    modules["rembg"].remove = remove
    modules["rembg.sessions"].sessions_class = [Session]
    modules["onnxruntime"].SessionOptions = SimpleNamespace
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(rembg_model, "find_spec", lambda name: name == "rembg" or None)
    rembg_model._session.cache_clear()
    return loaded


@pytest.mark.parametrize("place", ["u2net.onnx", "models/u2net/u2net.onnx"])
def test_rembg_runs_a_model_file_with_the_published_checksum(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = disc()
    loaded = install_rembg(monkeypatch, truth)
    photo = photographed(truth, torch.rand(3, 160, 160))
    assert remove_background(photo)[1].method != "rembg", "there is no model file"
    with pytest.raises(ValueError, match="nothing is downloaded from here; run .*`rembg d isnet-general-use`"):
        remove_background(photo, method="rembg")

    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"weights")
    monkeypatch.setitem(rembg_model.REMBG_MODELS, "u2net", hashlib.md5(b"weights").hexdigest())
    rgba, report = remove_background(photo)
    assert report.method == "rembg" and loaded == [str(file)]
    assert overlap(rgba, truth) > 0.99
    assert "MODEL_CHECKSUM_DISABLED" not in os.environ


def test_a_model_of_rembg_with_another_checksum_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = install_rembg(monkeypatch, disc())
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    monkeypatch.setenv("MODEL_CHECKSUM_DISABLED", "1")  # rembg's own switch has no effect
    monkeypatch.setitem(rembg_model.REMBG_MODELS, "u2net", hashlib.md5(b"weights").hexdigest())
    file = tmp_path / "u2net.onnx"
    file.write_bytes(b"weights")
    check_background_removal("rembg")
    file.write_bytes(b"something else")
    sentence = "u2net.onnx is not the file that rembg publishes .*; delete it and run `rembg d u2net`"
    photo = photographed(disc(), backdrops()["white"])
    for refused in (check_background_removal, lambda method: remove_background(photo, method=method)):
        with pytest.raises(ValueError, match=sentence):
            refused("rembg")
    with caplog.at_level(logging.WARNING):
        assert remove_background(photo)[1].method in ("grabcut", "border")
    assert re.search(sentence, caplog.text) and not loaded


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    """A tiny Segformer with random weights. Its bias classifies half of the photo of the disc as object."""
    torch.manual_seed(0)
    config = SegformerConfig(
        num_labels=2,
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 8, 8],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=16,
        mlp_ratios=[1, 1, 1, 1],
    )
    model = SegformerForSemanticSegmentation(config).eval()
    processor = SegformerImageProcessorPil(size={"height": 64, "width": 64})
    with torch.no_grad():
        model.decode_head.classifier.weight *= 3000  # so that probabilities are not all near 0.5
        logits = model(**processor(images=picture_of_the_disc(), return_tensors="pt")).logits[0]
        model.decode_head.classifier.bias[1] -= (logits[1] - logits[0]).median()
    model.save_pretrained(tmp_path / "segmenter")
    processor.save_pretrained(tmp_path / "segmenter")
    return tmp_path / "segmenter"


def picture_of_the_disc() -> Image.Image:
    rgb = photographed(disc(), backdrops()["grain"])[:3]
    return Image.fromarray((rgb * 255).round().byte().permute(1, 2, 0).numpy())


def test_a_segmentation_model_on_disk_determines_the_opacity(segmenter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = photographed(disc(), backdrops()["grain"])
    rgba, report = remove_background(photo, method=str(segmenter))
    assert report.method == str(segmenter)
    assert report.coverage == pytest.approx(0.5, abs=0.05)
    # The opacity is the model's own probability of the object.
    inputs = SegformerImageProcessorPil.from_pretrained(segmenter)(images=picture_of_the_disc(), return_tensors="pt")
    with torch.no_grad():
        logits = SegformerForSemanticSegmentation.from_pretrained(segmenter)(**inputs).logits
    expected = torch.nn.functional.interpolate(logits, size=(160, 160), mode="bilinear").softmax(dim=1)[0, 1]
    assert float(expected.std()) > 0.05
    assert torch.allclose(rgba[3], expected, atol=1e-3)
    assert report.confidence < 0.95 and "hard to tell apart" in report.warning, (
        "an uncertain model gets a low confidence"
    )
    # A model named in the environment is part of "auto", and is the model of "matting".
    monkeypatch.setenv(MATTING_VARIABLE, str(segmenter))
    for method in ("auto", "matting"):
        again, report = remove_background(photo, method=method)
        assert report.method == "matting" and torch.equal(again, rgba)


def test_vitmatte_changes_only_the_edge_of_a_mask(tmp_path: Path) -> None:
    backbone = VitDetConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        mlp_ratio=1,
        num_channels=4,
        image_size=64,
        pretrain_image_size=64,
        window_size=0,
        residual_block_indices=[],
        out_features=["stage1"],
        use_relative_position_embeddings=False,
    )
    config = VitMatteConfig(
        backbone_config=backbone, hidden_size=16, convstream_hidden_sizes=[4, 8, 16], fusion_hidden_sizes=[16, 8, 8, 8]
    )
    VitMatteForImageMatting(config).save_pretrained(tmp_path / "vitmatte")
    VitMatteImageProcessorPil().save_pretrained(tmp_path / "vitmatte")
    rgba, report = remove_background(photographed(disc(), backdrops()["grain"]), method=str(tmp_path / "vitmatte"))
    assert report.method == str(tmp_path / "vitmatte")
    assert bool((rgba[3][disc(radius=0.42).bool()] == 1).all())
    assert bool((rgba[3][~disc(radius=0.58).bool()] == 0).all())
    edge = rgba[3][(disc(radius=0.5) - disc(radius=0.48)).bool()]
    assert bool(((edge > 0) & (edge < 1)).any())


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("magic", "one of auto, none, alpha, rembg, matting, grabcut, border"),
        ("rembg", "pip install 'triplane3d\\[rembg\\]'"),
        ("grabcut", "pip install 'triplane3d\\[cv\\]'"),
        ("matting", MATTING_VARIABLE),
        ("owner/model", "files of 'owner/model' are not on this machine"),
        ("../a b/c*", "not on this machine"),
    ],
)
def test_a_method_that_cannot_run_raises_an_error_with_a_remedy(
    method: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=sentence):
        check_background_removal(method)
    with pytest.raises(ValueError, match=sentence):
        remove_background(photographed(disc(), backdrops()["white"]), method=method)


def test_models_for_other_tasks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    for config, sentence in (
        ('{"model_type": "BiRefNet"}', "neither a VitMatte nor"),
        ('{"model_type": "segformer", "id2label": {"0": "wall", "1": "floor", "2": "sky"}}', "called 'background'"),
    ):
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(ValueError, match=sentence):
            check_background_removal(str(tmp_path))


def test_an_object_twelve_rows_above_the_edge_is_not_cut_off(method: str) -> None:
    """The frame that GrabCut keeps as background is wider than these rows."""
    tall = torch.zeros(512, 384)
    tall[150:500, 110:270] = 1
    wall = torch.linspace(0.5, 0.8, 512)[:, None].expand(3, 512, 384)
    rgba, report = remove_background(photographed(tall, wall))
    assert overlap(rgba, tall) > 0.95 and report.warning is None
    tall[500:] = tall[499]
    assert "cut off at the photo's bottom" in remove_background(photographed(tall, wall))[1].warning


@pytest.mark.parametrize("contrast", [0.08, 0.15, 0.3])
def test_an_object_partly_in_the_backdrops_color_is_found_or_has_a_warning(contrast: float) -> None:
    pytest.importorskip("cv2")
    truth, noise = disc(256), torch.randn(3, 256, 256, generator=torch.Generator().manual_seed(2))
    wall = torch.tensor([0.55, 0.6, 0.7])[:, None, None] + 0.01 * noise
    photo = photographed(truth, wall)
    left = truth.bool() & (torch.linspace(-1, 1, 256) < 0.1)
    photo[:3, left] = (wall - contrast)[:, left]
    shaded = left & (torch.linspace(-1, 1, 256)[:, None] > 0.3)
    photo[:3, shaded] -= 0.15
    rgba, report = remove_background(photo)
    assert overlap(rgba, truth) > 0.85 or report.warning is not None


def test_other_objects_at_the_border_are_not_part_of_the_object(method: str) -> None:
    wall = backdrops()["grain"].clone()
    wall[:, :30, 100:150] = torch.tensor([0.1, 0.5, 0.2])[:, None, None]
    rgba, report = remove_background(photographed(disc(), wall))
    assert overlap(rgba, disc()) > 0.95 and report.warning is None


def test_a_horizon_and_a_vignette_are_background(method: str) -> None:
    axis = torch.linspace(-1, 1, 256)
    room = torch.where((axis > 0.2)[:, None], 0.35, 0.75).expand(3, 256, 256)
    corners = (0.75 * (1 - 0.35 * (axis[:, None] ** 2 + axis**2))).expand(3, 256, 256)
    for wall in (room, corners):
        rgba, report = remove_background(photographed(disc(256), wall))
        assert overlap(rgba, disc(256)) > 0.95 and report.warning is None


def test_the_edge_of_the_mask_is_as_soft_as_the_objects(method: str) -> None:
    """A disc with a blurred edge, in a photo that is much larger than the picture in which the mask is found."""
    axis = torch.linspace(-1, 1, 1200)
    radius = (axis[:, None] ** 2 + axis**2).sqrt()
    truth = ((0.5 - radius) / 0.004).sigmoid()
    rgba, _ = remove_background(photographed(truth, torch.ones(3, 1200, 1200)))
    assert float((rgba[3] - truth).abs().mean()) < 0.015
    assert bool((rgba[3][radius < 0.4] == 1).all()) and bool((rgba[3][radius > 0.6] == 0).all())


def test_masks_of_rendered_objects_reach_the_overlap_in_docs_photos_md() -> None:
    pytest.importorskip("cv2")
    for backdrop, least in (("plain", 0.95), ("gradient", 0.9), ("shadow", 0.9)):
        scenes = [draw_scene(11, backdrop, kind, scale=0.6) for kind in ("white", "handle")]
        overlaps, warned = [], []
        for scene in scenes:
            photo = torch.from_numpy(np.moveaxis(scene.photo, -1, 0).copy())
            rgba, report = remove_background(torch.cat([photo, torch.ones_like(photo[:1])]))
            overlaps.append(overlap(rgba, torch.from_numpy(scene.coverage > 0.5)))
            warned.append(report.warning is not None)
        assert np.mean(overlaps) > least
        assert all(warned[place] for place in range(len(scenes)) if overlaps[place] < 0.85)
