"""Registration with diffusers works in any order of imports, imports nothing and changes nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline
from pipelines.tiny_pipeline import build_tiny

import triplane3d
from triplane3d.diffusers_compat import attention_backends, has_hooks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "tiny"
    build_tiny().save_pretrained(path)
    return path


def run(code: str) -> list[str]:
    """What a new process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_the_library_imports_neither_torch_nor_diffusers() -> None:
    heavy = {"torch", "diffusers", "transformers"}
    assert run(f"import triplane3d, sys; print(*{heavy} & sys.modules.keys())") == []


@pytest.mark.parametrize(
    "imports",
    [
        "import triplane3d; from diffusers import AutoModel, DiffusionPipeline",
        "from diffusers import AutoModel, DiffusionPipeline; import triplane3d",
        "import diffusers; import triplane3d; from diffusers import AutoModel, DiffusionPipeline",
    ],
)
def test_diffusers_loaders_find_the_library_in_any_order_of_imports(imports: str, folder: Path) -> None:
    printed = run(
        f"{imports}\n"
        f"print(type(AutoModel.from_pretrained({str(folder)!r}, subfolder='vae')).__name__)\n"
        f"print(type(DiffusionPipeline.from_pretrained({str(folder)!r})).__name__)\n"
        "import sys; print([finder for finder in sys.meta_path if type(finder).__name__ == '_AfterImport'])"
    )
    assert printed == ["AutoencoderKLTriplane", "Triplane3DPipeline", "[]"]


def test_a_single_model_loads_without_a_pipeline(folder: Path) -> None:
    code = (
        "import triplane3d, sys; from diffusers import AutoModel\n"
        f"print(type(AutoModel.from_pretrained({str(folder)!r}, subfolder='transformer')).__name__)"
    )
    assert run(code) == ["TriplaneTransformer"]


def test_registering_twice_changes_nothing() -> None:
    before = DiffusionPipeline.from_pretrained.__func__, DiffusionPipeline.download.__func__
    triplane3d.register_with_diffusers()
    assert (DiffusionPipeline.from_pretrained.__func__, DiffusionPipeline.download.__func__) == before


def test_other_pipelines_are_loaded_as_before(tmp_path: Path) -> None:
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    small = {"sample_size": 8, "block_out_channels": (8,), "norm_num_groups": 4, "layers_per_block": 1}
    unet = UNet2DModel(**small, down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",))
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path)
    for loader in (DiffusionPipeline, DDPMPipeline):
        assert type(loader.from_pretrained(tmp_path)) is DDPMPipeline


def test_the_private_attributes_are_those_of_this_diffusers() -> None:
    model = build_tiny().transformer
    assert attention_backends(model) == {"native"} and not has_hooks(model)
    model.set_attention_backend("_native_math")
    assert attention_backends(model) == {"_native_math"}
    model.set_attention_backend("native")
    model.reset_attention_backend()
    model.enable_group_offload("cpu", offload_type="leaf_level")
    assert has_hooks(model)
