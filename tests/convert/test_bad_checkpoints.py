"""Bad checkpoints raise a clear error, in the library and in the command, and leave no files behind."""

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from convert.tiny_checkpoints import (
    SMALL_DIT,
    SMALL_TRIPOSR,
    SMALL_VAE,
    SMALL_VIT,
    encoder_sections,
    random_direct3d,
    random_triposr,
    save_direct3d,
    save_encoders,
    save_triposr,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from typer.testing import CliRunner

from triplane3d.cli import app
from triplane3d.convert import saving
from triplane3d.convert.direct3d import convert_direct3d
from triplane3d.convert.triposr import convert_triposr

Case = tuple[Callable[[Path], object], str]

LONGEST = 1600
"""The maximal number of characters of an error message, including the paths of the test run."""


class WritesMarker:
    """An object of a malicious pickle: unpickling it without protection would write a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.marker, "ran")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each checkpoint as safetensors, and as a pickle under the name "… pickle"."""
    folder = tmp_path_factory.mktemp("good")
    models = random_direct3d(SMALL_VAE, SMALL_DIT, 0)
    weights = {part: model.state_dict() for part, model in zip(("vae", "dit"), models, strict=True)}
    params, tensors = {"vae": SMALL_VAE, "dit": SMALL_DIT}, random_triposr(SMALL_TRIPOSR, SMALL_VIT, 0).state_dict()
    found = {}
    for pickled in (False, True):
        ending = " pickle" if pickled else ""
        found[f"direct3d{ending}"] = save_direct3d(folder / f"d{pickled}", params, weights, pickled=pickled)
        found[f"triposr{ending}"] = save_triposr(
            folder / f"t{pickled}", SMALL_TRIPOSR, SMALL_VIT, tensors, pickled=pickled
        )
    return found


def settings(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """A function that changes the settings in a checkpoint's folder."""

    def changed(folder: Path) -> None:
        values = yaml.safe_load((folder / "config.yaml").read_text())
        change(values)
        (folder / "config.yaml").write_text(yaml.safe_dump(values))

    return changed


def params(section: str, **values: Any) -> Callable[[Path], None]:
    def change(content: dict[str, Any]) -> None:
        target = content[section]
        target.get("params", target).update(values)

    return settings(change)


def tensors(file: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        values = load_file(folder / file)
        change(values)
        save_file(values, folder / file)

    return changed


def cut(file: str, share: float = 0.5) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: int(share * len(content))])

    return changed


def text(file: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_text(content)


def malicious(folder: Path) -> None:
    content = {
        "vae": {"weight": torch.ones(2)},
        "dit": WritesMarker(folder / "marker"),
        "weight": WritesMarker(folder / "marker"),
    }
    torch.save(content, folder / "model.ckpt")


def replaced(folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    one = {"replaced": change(torch.ones(4, 4))}
    is_direct3d = "dit:" in (folder / "config.yaml").read_text()
    torch.save({"vae": one, "dit": one} if is_direct3d else one, folder / "model.ckpt")


COMMON: dict[str, Case] = {
    "no config": (lambda folder: (folder / "config.yaml").unlink(), r"config\.yaml does not exist"),
    "empty config": (text("config.yaml", ""), r"config\.yaml is empty"),
    "config is a list": (text("config.yaml", "[1, 2]"), "must contain a mapping"),
    "config is no YAML": (text("config.yaml", "a: [b"), "no plain YAML"),
    "config names Python": (text("config.yaml", "a: !!python/object/apply:os.getcwd []"), "no plain YAML"),
    "unknown section": (settings(lambda content: content.update(vea={})), "unknown key 'vea'"),
    "a number as a key": (settings(lambda content: content.update({3: 4})), "unknown key '3'"),
}
DIRECT3D: dict[str, Case] = {
    **COMMON,
    "unknown key beside params": (settings(lambda s: s["vae"].update(parms={})), "vae: unknown key 'parms'.*'params'"),
    "unknown in vae": (params("vae", latent_dims=3), "vae: unknown key 'latent_dims'.*'latent_dim'"),
    "unknown in dit": (params("dit", depth=3), "dit: unknown key 'depth'"),
    "unknown in scheduler": (params("scheduler", beta_stat=3), "scheduler.*unknown key 'beta_stat'.*'beta_start'"),
    "another class": (settings(lambda s: s["vae"].update(target="x.KL")), "'x.KL', not .* D3D_VAE"),
    "another scheduler": (settings(lambda s: s["scheduler"].update(target="my.Own")), "'my.Own', .* not a scheduler"),
    "no scheduler but a model": (
        settings(lambda s: s["scheduler"].update(target="diffusers.UNet2DModel")), "not a scheduler"),
    "impossible schedule": (params("scheduler", beta_schedule="cubic"), "cannot build EulerDiscreteScheduler"),
    "scheduler is text": (settings(lambda s: s.update(scheduler="euler")), "scheduler must be a mapping of keys"),
    "scheduler's params a list": (settings(lambda s: s["scheduler"].update(params=[1])), "must be a mapping of keys"),
    "section is text": (settings(lambda s: s.update(vae="large")), "vae must be a mapping of keys"),
    "params are a list": (settings(lambda s: s["dit"].update(params=[1])), "dit must be a mapping of keys"),
    "no vae": (settings(lambda s: s.pop("vae")), "no section 'vae'"),
    "size missing": (settings(lambda s: s["vae"]["params"].pop("triplane_res")), "has no triplane_res"),
    "a size as text": (params("vae", triplane_res="eight"), "triplane_res must be a whole number.*'eight'"),
    "a size of zero": (params("vae", latent_dim=0), "latent_dim must be from 1"),
    "a fractional head": (params("dit", num_attention_heads=1.5), "num_attention_heads must be a whole number"),
    "too many layers": (params("dit", num_layers=10**9), "num_layers must be from 0 to 1000"),
    "a scale of zero": (params("vae", latents_scale=0), "latents_scale"),
    "a scale as text": (params("vae", latents_scale="one"), "latents_scale must be a finite number"),
    "planes not in a row": (params("dit", sample_size=[4, 4]), r"must be .* three planes side by side, got \[4, 4\]"),
    "planes as a number": (params("dit", sample_size=4), "sample_size must be a list"),
    "patches that do not fit": (params("dit", patch_size=3), "must be a multiple of patch_size"),
    "norm groups that do not divide": (params("vae", block_out_channels=[33, 32]), "a valid network.*divisible"),
    "another activation": (params("dit", activation_fn="sine"), "unknown activation 'sine'"),
    "an activation of the logits": (params("vae", final_activation="sigmoid"), "final_activation='sigmoid'"),
    "affine norms": (params("dit", norm_elementwise_affine=True), "norm_elementwise_affine"),
    "text for a flag": (params("dit", attention_bias="yes please"), "attention_bias must be true or false"),
    "settings of another size": (params("dit", num_layers=3), r"\d+ missing: transformer_blocks\.2"),
    "settings of another width": (params("dit", attention_head_dim=8), "other shapes"),
    "a tensor missing": (tensors("vae.safetensors", lambda w: w.pop("pre_latent.bias")), "1 missing: pre_latent.bias"),
    "an additional tensor": (
        tensors("dit.safetensors", lambda w: w.update(stray=torch.ones(1))), "1 unexpected: stray"),
    "a tensor of another shape": (
        tensors("dit.safetensors", lambda w: w.update({"proj_out.bias": torch.ones(3)})), r"proj_out.bias is \(3,\)"),
    "truncated": (cut("dit.safetensors"), "safetensors"),
    "truncated header": (cut("vae.safetensors", 0.001), "safetensors|damaged|pickle"),
    "one of two files missing": (
        lambda folder: (folder / "dit.safetensors").unlink(), r"neither model\.ckpt nor all of"),
    "LFS pointer": (text("vae.safetensors", "version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
}  # fmt: skip
TRIPOSR: dict[str, Case] = {
    **COMMON,
    "unknown in a section": (params("renderer", radious=1), "renderer: unknown key 'radious'.*'radius'"),
    "unknown of the ViT": (text("vit_config.json", '{"hiden_size": 3}'), "vit_config.json: unknown key 'hiden_size'"),
    "another ViT": (text("vit_config.json", '{"model_type": "dinov2"}'), "'dinov2', but TripoSR has a ViT"),
    "ViT size as text": (text("vit_config.json", '{"hidden_size": "wide"}'), "hidden_size must be a whole number"),
    "ViT is no JSON": (text("vit_config.json", "{"), "vit_config.json is no JSON"),
    "ViT is a list": (text("vit_config.json", "[]"), "should hold an object of keys and values, not list"),
    "ViT flag as a number": (text("vit_config.json", '{"qkv_bias": 1}'), "qkv_bias must be true or false"),
    "integers for floats": (
        tensors("triposr.safetensors", lambda w: w.update({
            "tokenizer.embeddings": w["tokenizer.embeddings"].contiguous().view(torch.int32)})),
        "tokenizer.embeddings is torch.int32"),
    "another class": (settings(lambda s: s.update(decoder_cls="a.HashMLP")), "'HashMLP', not .* NeRFMLP"),
    "section is text": (settings(lambda s: s.update(renderer="fast")), "renderer must be a mapping of keys"),
    "image size missing": (settings(lambda s: s.pop("cond_image_size")), "has no cond_image_size"),
    "image size as text": (settings(lambda s: s.update(cond_image_size="large")), "cond_image_size must be a whole"),
    "photos smaller than patches": (settings(lambda s: s.update(cond_image_size=5)), "1 to image_size=5"),
    "radius missing": (settings(lambda s: s["renderer"].pop("radius")), "renderer has no radius"),
    "a radius of zero": (params("renderer", radius=0), "radius must be above 0"),
    "another reduction": (params("renderer", feature_reduction="sum"), "must be concat or mean, got 'sum'"),
    "another density": (params("renderer", density_activation="sine"), "density_activation must be one of"),
    "another colour": (params("renderer", color_activation="none"), "color_activation is 'none'; only 'sigmoid'"),
    "another attention": (params("backbone", double_self_attention=True), "double_self_attention"),
    "inconsistent widths": (params("decoder", in_channels=40), "decoder.in_channels is 40, but .* imply 18"),
    "reference to a missing key": (params("backbone", in_channels="${tokeniser.num_channels}"), "refers to nothing"),
    "circular reference": (params("tokenizer", num_channels="${tokenizer.num_channels}"), "circular"),
    "norm groups that do not divide": (params("backbone", norm_num_groups=5), "a valid network.*divisible"),
    "a tensor missing": (
        tensors("triposr.safetensors", lambda w: w.pop("tokenizer.embeddings")), "1 missing: tokenizer.embeddings"),
    "one more tensor": (tensors("triposr.safetensors", lambda w: w.update(stray=torch.ones(1))), "1 unexpected: stray"),
    "positions not a square": (
        tensors("triposr.safetensors", lambda w: w.update({
            "image_tokenizer.model.embeddings.position_embeddings": torch.ones(1, 8, 24)})), "position_embeddings is"),
    "truncated": (cut("triposr.safetensors"), "safetensors"),
}  # fmt: skip
PICKLES: dict[str, Case] = {
    "malicious": (malicious, "refused unread, because reading it would run code"),
    "truncated": (cut("model.ckpt"), "cut short"),
    "truncated at the end": (cut("model.ckpt", 0.98), "cut short|damaged"),
    "missing": (lambda folder: (folder / "model.ckpt").unlink(), "neither model.ckpt nor"),
    "a list": (lambda folder: torch.save([torch.ones(2)], folder / "model.ckpt"), "dict"),
    "numbers among the tensors": (
        lambda folder: torch.save({"vae": {"a": 1}, "dit": {"b": 2}, "c": 3}, folder / "model.ckpt"), "tensors only"),
    "sparse": (lambda folder: replaced(folder, torch.Tensor.to_sparse), r"plain tensors.*replaced \(sparse coo\)"),
    "complex": (lambda folder: replaced(folder, lambda w: w.to(torch.complex64)), r"replaced \(of torch.complex64\)"),
    "quantised": (
        lambda folder: replaced(folder, lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8)), "quantised"),
    "expanded storage": (lambda folder: replaced(folder, lambda w: w[:1, :1].expand(9, 9)), "fewer numbers than"),
    "on another device": (lambda folder: replaced(folder, lambda w: w.to("meta")), "replaced .without data"),
    "text": (text("model.ckpt", "not found"), "neither a pickle of tensors nor safetensors"),
    "empty": (text("model.ckpt", ""), "is empty"),
}  # fmt: skip
CONVERTERS = {"direct3d": convert_direct3d, "triposr": convert_triposr}
CASES = [
    *(("direct3d", name, case) for name, case in DIRECT3D.items()),
    *(("triposr", name, case) for name, case in TRIPOSR.items()),
    *((f"{family} pickle", name, case) for family in CONVERTERS for name, case in PICKLES.items()),
]


def assert_refused(family: str, checkpoint: Path, folder: Path, message: str, code: int = 2) -> None:
    """Library and command raise an error with `message`, and do not change the folder."""
    output = folder / "out"
    before = sorted(path for path in folder.rglob("*"))
    options = {"skip_encoders": True} if family == "direct3d" else {}
    with pytest.raises((ValueError, OSError), match=message) as caught:
        CONVERTERS[family](checkpoint, output, **options)
    assert len(str(caught.value)) < LONGEST
    assert sorted(path for path in folder.rglob("*")) == before

    flags = ["--skip-encoders"] if family == "direct3d" else []
    result = CliRunner().invoke(app, ["convert", family, str(checkpoint), str(output), *flags])
    assert result.exit_code == code, result.output
    assert result.output.startswith("error: ") and result.output.count("\n") == 1
    assert sorted(path for path in folder.rglob("*")) == before


@pytest.mark.parametrize(("family", "name", "case"), CASES, ids=[f"{family}: {name}" for family, name, _ in CASES])
def test_bad_checkpoints_are_refused(good: dict[str, Path], tmp_path: Path, family: str, name: str, case: Case) -> None:
    damage, message = case
    checkpoint = tmp_path / "in"
    shutil.copytree(good[family], checkpoint)
    damage(checkpoint)
    (tmp_path / "place").mkdir()
    assert_refused(family.removesuffix(" pickle"), checkpoint, tmp_path / "place", message)
    assert not (checkpoint / "marker").exists()


@pytest.mark.parametrize("ending", ["", " pickle"])
@pytest.mark.parametrize("family", CONVERTERS)
def test_a_checkpoint_of_the_other_model_is_refused(
    good: dict[str, Path], tmp_path: Path, family: str, ending: str
) -> None:
    other = next(name for name in CONVERTERS if name != family)
    (tmp_path / "place").mkdir()
    assert_refused(family, good[other + ending], tmp_path / "place", "is it|neither")
    # The other model's weights with the right settings.
    shutil.copytree(good[f"{other} pickle"], tmp_path / "in")
    shutil.copy(good[family] / "config.yaml", tmp_path / "in" / "config.yaml")
    if family == "triposr":
        shutil.copy(good[family] / "vit_config.json", tmp_path / "in")
    assert_refused(
        family,
        tmp_path / "in",
        tmp_path / "place",
        "the checkpoint of another|must contain names and tensors",
    )


@pytest.mark.parametrize("family", CONVERTERS)
def test_a_missing_checkpoint_is_named(good: dict[str, Path], tmp_path: Path, family: str) -> None:
    assert_refused(family, Path("/nowhere/model.ckpt"), tmp_path, "/nowhere/model.ckpt does not exist")
    assert_refused(family, Path("/nowhere"), tmp_path, "/nowhere does not exist")


@pytest.mark.parametrize("family", CONVERTERS)
def test_an_existing_output_is_not_changed(good: dict[str, Path], tmp_path: Path, family: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("notes")
    assert_refused(family, good[family], tmp_path, "exists and is not empty")
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").write_text("notes")
    assert_refused(family, good[family], tmp_path, "is a file, not a folder")


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Mocks a disk that is full after this number of tensors."""
    left = [5]
    cast = saving._cast

    def until_full(*arguments: Any) -> torch.Tensor:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return cast(*arguments)

    monkeypatch.setattr(saving, "_cast", until_full)
    yield left


@pytest.mark.parametrize("family", CONVERTERS)
def test_a_full_disk_is_named_and_leaves_no_files(
    good: dict[str, Path], tmp_path: Path, family: str, small_disk: list[int]
) -> None:
    assert_refused(family, good[family], tmp_path, "the disk is full", code=1)


def test_a_full_disk_while_encoders_are_saved_leaves_no_files(
    good: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(good["direct3d"], tmp_path / "in")
    settings(lambda s: s.update(encoder_sections()))(tmp_path / "in")
    clip, dino = save_encoders(tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    (tmp_path / "place").mkdir()
    with pytest.raises(OSError, match="No space left on device.*is the disk full"):
        convert_direct3d(tmp_path / "in", tmp_path / "place" / "out", image_encoder=clip, pixel_encoder=dino)
    assert not any((tmp_path / "place").iterdir())


@pytest.mark.parametrize("options", [{"variant": "fp8"}, {"max_shard_size": "ten"}, {"max_shard_size": "0.5XB"}])
@pytest.mark.parametrize("family", CONVERTERS)
@pytest.mark.usefixtures("as_users_run_it")
def test_invalid_options_are_refused(good: dict[str, Path], tmp_path: Path, family: str, options: dict) -> None:
    more = {"skip_encoders": True} if family == "direct3d" else {}
    with pytest.raises(ValueError, match="|".join(options)):
        CONVERTERS[family](good[family], tmp_path / "out", **options, **more)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("family", CONVERTERS)
def test_values_above_the_maximum_of_half_precision_are_refused(
    good: dict[str, Path], tmp_path: Path, family: str
) -> None:
    shutil.copytree(good[family], tmp_path / "in")
    file = tmp_path / "in" / ("dit.safetensors" if family == "direct3d" else "triposr.safetensors")
    values = load_file(file)
    next(iter(values.values())).flatten()[0] = 1e6
    save_file(values, file)
    more = {"skip_encoders": True} if family == "direct3d" else {}
    with pytest.raises(ValueError, match="value 1e.06, above the maximum of torch.float16"):
        CONVERTERS[family](tmp_path / "in", tmp_path / "out", variant="fp16", **more)
    assert not (tmp_path / "out").exists()


def test_the_undamaged_checkpoints_convert(good: dict[str, Path], tmp_path: Path) -> None:
    for name, checkpoint in good.items():
        family = name.removesuffix(" pickle")
        flags = ["--skip-encoders"] if family == "direct3d" else []
        result = CliRunner().invoke(app, ["convert", family, str(checkpoint), str(tmp_path / name), *flags])
        assert result.exit_code == 0 and (tmp_path / name / "model_index.json").is_file(), result.output
        assert not any(path.name.endswith(".partial") for path in tmp_path.iterdir())
        assert json.loads((tmp_path / name / "model_index.json").read_text())["_class_name"].startswith("Triplane")
