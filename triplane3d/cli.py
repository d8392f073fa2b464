"""The `triplane3d` command: arguments in, one library call out.

Exit codes: 0 done, 1 failure, 2 the user's mistake, 130 stopped by the user.
"""

import inspect
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from triplane3d.pipelines.loading import embedded_names, embedded_pipeline, register_with_diffusers

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline

MESH_SUFFIXES = (".glb", ".obj", ".ply", ".stl")
PREVIEW_SUFFIXES = (".webp", ".gif", ".png")

OPTIONS = {
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance",
    "resolution": "--resolution",
    "level": "--level",
}
"""What a pipeline's call names, as the command does."""

app = typer.Typer(
    help="Turn photos of objects into 3D meshes.",
    epilog="Try: triplane3d generate chair.png -o chair.glb --preview chair.webp",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Dtype(StrEnum):
    auto = "auto"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


class Variant(StrEnum):
    fp16 = "fp16"
    bf16 = "bf16"


convert = typer.Typer(
    help="Turn public checkpoints into saved pipelines, which --model then names.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(convert, name="convert")

Checkpoint = Annotated[
    Path, typer.Argument(metavar="CKPT", help="The downloaded model.ckpt, or the folder that holds it.")
]
Output = Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for the pipeline.")]
Settings = Annotated[Path | None, typer.Option("--config", help="Its config.yaml, where it is not beside it.")]
HalfToo = Annotated[Variant | None, typer.Option(help="Write the weights in half precision too.")]
ShardSize = Annotated[str, typer.Option(help="Split files that would be larger, such as 5GB.")]


@app.command(no_args_is_help=True)
def generate(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="Photos of one object each, or with --views of one object; PNG with transparency is best.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A .glb, .obj, .ply or .stl file, or a folder. Default: IMAGE's name with .glb."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="A pipeline that came along (mini), a folder, or a name on the Hugging Face Hub.")
    ] = "mini",
    quality: Annotated[
        str, typer.Option(help="A preset of the model, draft, balanced or high: steps, guidance and resolution.")
    ] = "balanced",
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps. Default: the preset's.")] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, help="How closely to follow the photo; 1 is off. Default: the preset's.")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(min=8, max=2048, help="Cells along an edge of the grid. Default: the preset's.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same mesh; try others for variants.")
    ] = 0,
    device: Annotated[Device, typer.Option(help="Where to compute; auto takes a GPU if there is one.")] = Device.auto,
    dtype: Annotated[
        Dtype, typer.Option(help="Precision of the networks; auto is float32 on the CPU, float16 on a GPU.")
    ] = Dtype.auto,
    background_removal: Annotated[
        str,
        typer.Option(
            metavar="METHOD",
            help="auto (the photo's alpha, else the best way at hand), none (take the photo as it is), alpha, rembg, "
            "matting, grabcut, border, or the folder of a matting model. Nothing is downloaded.",
        ),
    ] = "auto",
    level: Annotated[
        float | None, typer.Option(help="Where the surface lies in the model's field. Default: the model's own.")
    ] = None,
    views: Annotated[
        bool,
        typer.Option(
            "--views",
            help="The photos are 1 to 6 views of one object, each as CAMERA=IMAGE. CAMERA is where the camera stands: "
            "front, right, back or left; azimuth, or azimuth,elevation, in degrees (90 right, 270 left); ? if unknown. "
            "Without CAMERA= the first is the front, others are unknown. For models of several photos (see info).",
        ),
    ] = False,
    preview: Annotated[
        Path | None, typer.Option(help="Also draw it: a turntable (.webp, .gif) or the photo's own view (.png).")
    ] = None,
) -> None:
    """Make a 3D mesh from every photo, or one from several views of an object.

    Examples:

    \b
      triplane3d generate chair.png -o chair.glb
      triplane3d generate chair.png -o chair.glb --preview chair.webp
      triplane3d generate photos/*.jpg -o meshes/ --seed 7
      triplane3d generate mug.png -o mug.stl --quality high --device cuda
      triplane3d generate --views front=a.png left=b.png 180,20=c.png -o chair.glb --model MODEL
    """
    cameras: list[Any] = []
    if views:
        from triplane3d.pipelines.views import Views, split_view

        with _mistakes_are_sentences():
            cameras, images = map(list, zip(*map(split_view, images), strict=True))
            Views.of([images], None, [cameras])
    for image in images:
        if not os.path.isfile(image):
            from triplane3d.pipelines.photo import find_photo

            with _mistakes_are_sentences():
                find_photo(image)  # says what is there instead
    if preview is not None and preview.suffix.lower() not in PREVIEW_SUFFIXES:
        _fail(f"--preview {preview}: end the name in one of {', '.join(PREVIEW_SUFFIXES)}")
    targets = _targets(images[:1] if views else images, output)
    previews = _previews(targets, preview)
    photos = {image.resolve() for image in images}
    for path in [*targets, *filter(None, previews)]:
        if path.resolve() in photos:
            _fail(f"{path} is one of the photos and would be overwritten: choose another name or folder")
    for folder in sorted({path.parent for path in [*targets, *filter(None, previews)]}):
        with _mistakes_are_sentences():
            folder.mkdir(parents=True, exist_ok=True)

    import torch

    from triplane3d.pipelines.background import check_background_removal

    with _mistakes_are_sentences():
        check_background_removal(background_removal)
    logging.getLogger("triplane3d").setLevel(logging.ERROR)  # doubts about masks are printed below, once
    pipe = _load(model, device, dtype)
    if quality not in pipe.config.presets:
        _fail(f"--quality must be one of {', '.join(sorted(pipe.config.presets))}, got {quality!r}")
    chosen: dict[str, Any] = dict(zip(OPTIONS, (steps, guidance, resolution, level), strict=True))
    chosen = {name: value for name, value in chosen.items() if value is not None}
    takes = inspect.signature(pipe.__call__).parameters
    if refused := [name for name in chosen if name not in takes]:
        _fail(f"{model} makes its meshes in a single pass: leave out {' and '.join(OPTIONS[name] for name in refused)}")
    if views:
        if not _takes_views(getattr(getattr(pipe, "transformer", None), "config", {})):
            _fail(f"{model} was made for one photo of each object: leave out --views, or name another --model")
        chosen["cameras"] = [cameras]
    mistakes = 0
    objects = [images] if views else [[image] for image in images]
    for (image, *others), target, turntable in zip(objects, targets, previews, strict=True):
        started = time.perf_counter()
        pipe.set_progress_bar_config(desc=image.name, leave=False)
        try:
            if "generator" in takes:
                chosen["generator"] = torch.Generator().manual_seed(seed)
            given = [[image, *others]] if views else image
            out = pipe(given, quality=quality, background_removal=background_removal, **chosen)
            mesh = out.meshes[0]
            mesh.save(target)
            if turntable is not None:
                out.save_preview(turntable)
        except (ValueError, OSError) as error:
            # One bad photo does not stop the others.
            told = any(str(photo) in str(error) for photo in (image, *others))
            typer.echo(f"error: {error}" if told else f"error: {image}: {error}", err=True)
            mistakes += 1
            continue
        except KeyboardInterrupt:
            typer.echo(f"stopped at {image}; what was written before is whole", err=True)
            raise typer.Exit(130) from None
        for photo, matte in zip([image, *others], out.mattes or [], strict=False):
            if matte.warning is not None:
                typer.echo(f"warning: {photo}: {matte.warning}", err=True)
        facts = [f"{len(mesh.faces):,} faces", f"{time.perf_counter() - started:.1f} s"]
        facts += [f"background: {matte.method}, confidence {matte.confidence:.2f}" for matte in out.mattes or []]
        typer.echo(f"{target}  ({', '.join(facts)})" + (f"  {turntable}" if turntable else ""))
    if mistakes:
        raise typer.Exit(2)


@app.command(no_args_is_help=True)
def info(
    model: Annotated[str, typer.Argument(help="A pipeline that came along (mini), or a folder.")],
) -> None:
    """Say what a saved pipeline is: components, parameters, sizes, defaults, licence.

    \b
      triplane3d info mini
      triplane3d info runs/my-model
    """
    folder = _find_local(model)
    if folder is None:
        _fail(f"there is no pipeline {model!r} here: name a folder, or one of {', '.join(embedded_names())}")
    with _mistakes_are_sentences():
        index = json.loads((folder / "model_index.json").read_text())
    typer.echo(f"{model}: {index.get('_class_name', 'unknown class')} in {folder}")
    license_name, summary = _read_card(folder / "README.md")
    typer.echo(f"licence: {license_name}")
    if summary:
        typer.echo(f"\n{summary}")

    typer.echo(f"\n{'component':<16}{'class':<34}{'parameters':>12}  {'dtype':<6}{'size':>9}")
    total_parameters = total_bytes = 0
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or entry[:1] == [None]:
            continue
        parameters, dtypes, size = _weigh(folder / name)
        total_parameters += parameters
        total_bytes += size
        counted = f"{parameters:,}" if parameters else "-"
        typer.echo(f"{name:<16}{entry[1]:<34}{counted:>12}  {'/'.join(dtypes) or '-':<6}{size / 1e6:>6.1f} MB")
    typer.echo(f"{'total':<50}{total_parameters:>12,}  {'':<6}{total_bytes / 1e6:>6.1f} MB")

    scalars = {name: value for name, value in index.items() if name[0] != "_" and not isinstance(value, list | dict)}
    if (transformer := folder / "transformer" / "config.json").is_file():
        several = _takes_views(json.loads(transformer.read_text()))
        typer.echo(f"\nphotos: {'1 to 6 of an object (--views)' if several else 'one of each object'}")
    typer.echo("\nsettings: " + ", ".join(f"{name} {value}" for name, value in scalars.items()))
    if presets := index.get("presets"):
        columns = [name for name in OPTIONS if name in next(iter(presets.values()))]
        typer.echo(f"\n{'--quality':<16}" + "".join(f"{OPTIONS[name].strip('-'):>12}" for name in columns))
        for name, preset in sorted(presets.items(), key=lambda item: [item[1][column] for column in columns]):
            typer.echo(f"{name:<16}" + "".join(f"{preset[column]:>12g}" for column in columns))


@convert.command("direct3d", no_args_is_help=True)
def convert_direct3d(
    checkpoint: Checkpoint,
    output: Output,
    settings: Settings = None,
    skip_encoders: Annotated[
        bool,
        typer.Option("--skip-encoders", help="Leave out the two image encoders, which the checkpoint does not hold."),
    ] = False,
    image_encoder: Annotated[
        str | None, typer.Option(help="CLIP's vision model: a folder, or a name on the Hub. Default: the config's.")
    ] = None,
    pixel_encoder: Annotated[
        str | None, typer.Option(help="DINOv2: a folder, or a name on the Hub. Default: the config's.")
    ] = None,
    variant: HalfToo = None,
    max_shard_size: ShardSize = "10GB",
) -> None:
    """DreamTechAI/Direct3D: model.ckpt and config.yaml.

    \b
      triplane3d convert direct3d Direct3D/ my-direct3d/
      triplane3d generate chair.png --model my-direct3d/
    """
    from triplane3d.convert.direct3d import convert_direct3d

    with _mistakes_are_sentences():
        convert_direct3d(
            checkpoint,
            output,
            settings=settings,
            skip_encoders=skip_encoders,
            image_encoder=image_encoder,
            pixel_encoder=pixel_encoder,
            variant=None if variant is None else variant.value,
            max_shard_size=max_shard_size,
        )
    typer.echo(f"{output}: a pipeline; see: triplane3d info {output}")


@convert.command("triposr", no_args_is_help=True)
def convert_triposr(
    checkpoint: Checkpoint,
    output: Output,
    settings: Settings = None,
    variant: HalfToo = None,
    max_shard_size: ShardSize = "10GB",
) -> None:
    """stabilityai/TripoSR: model.ckpt and config.yaml.

    \b
      triplane3d convert triposr TripoSR/ my-triposr/
      triplane3d generate chair.png --model my-triposr/
    """
    from triplane3d.convert.triposr import convert_triposr

    with _mistakes_are_sentences():
        convert_triposr(
            checkpoint,
            output,
            settings=settings,
            variant=None if variant is None else variant.value,
            max_shard_size=max_shard_size,
        )
    typer.echo(f"{output}: a pipeline; see: triplane3d info {output}")


@app.callback(invoke_without_command=True)
def _options(
    show_version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and stop.")] = False,
) -> None:
    if show_version:
        try:
            typer.echo(version("triplane3d"))
        except PackageNotFoundError:
            typer.echo("not installed (run from a checkout)")
        raise typer.Exit


def main() -> None:
    """The console entry point."""
    app()


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


@contextmanager
def _mistakes_are_sentences() -> Iterator[None]:
    """What the library refuses is the user's to mend: its sentence is enough, a traceback would hide it."""
    try:
        yield
    except (ValueError, OSError) as error:
        _fail(" ".join(str(error).split()))


def _takes_views(transformer: Mapping[str, Any]) -> bool:
    """A denoiser of this config reads several photos of an object."""
    return bool(transformer.get("camera_condition"))


def _targets(images: list[Path], output: Path | None) -> list[Path]:
    """Where each photo's mesh goes; photos of one name in different folders get numbers."""
    if output is not None and output.suffix.lower() in MESH_SUFFIXES:
        if len(images) > 1:
            _fail(f"--output {output} is one file for {len(images)} photos: name a folder")
        return [output]
    if output is not None and output.suffix and not output.is_dir():
        _fail(f"--output {output}: end the name in one of {', '.join(MESH_SUFFIXES)}, or name a folder")
    folder = output or Path()
    if folder.exists() and not folder.is_dir():
        _fail(f"--output {folder} is a file: name a folder, or a file ending in one of {', '.join(MESH_SUFFIXES)}")
    targets: list[Path] = []
    for image in images:
        target, number = folder / f"{image.stem}.glb", 1
        while target in targets:
            number += 1
            target = folder / f"{image.stem}-{number}.glb"
        targets.append(target)
    return targets


def _previews(targets: list[Path], preview: Path | None) -> list[Path | None]:
    """One preview for each mesh: the named file, or beside every mesh where there are several."""
    if preview is None:
        return [None] * len(targets)
    if len(targets) == 1:
        return [preview]
    return [target.with_name(f"{target.stem}-{preview.name}") for target in targets]


def _find_local(model: str) -> Path | None:
    embedded = embedded_pipeline(model)
    if embedded is not None:
        return embedded
    return Path(model) if (Path(model) / "model_index.json").is_file() else None


def _load(model: str, device: Device, dtype: Dtype) -> "DiffusionPipeline":
    folder = _find_local(model)
    if folder is None:
        if Path(model).exists():
            _fail(f"{model} is not a saved pipeline: it has no model_index.json")
        if model.count("/") != 1:
            _fail(
                f"there is no pipeline {model!r}: name one that came along ({', '.join(embedded_names())}), "
                "a folder, or owner/name on the Hugging Face Hub"
            )
    elif not any(folder.glob("*/*.safetensors")):
        public = folder.name in ("direct3d", "triposr")
        way_out = f"convert the public checkpoint (triplane3d convert {folder.name} --help)" if public else "train it"
        _fail(f"{folder} describes a pipeline but holds no weights: {way_out} and name the folder that comes of it")
    else:
        index = json.loads((folder / "model_index.json").read_text())
        if absent := [name for name in ("image_encoder", "scheduler") if index.get(name) == [None, None]]:
            _fail(f"{folder} was saved without its {' and '.join(absent)}: save it whole, or pass them in Python")
    import torch
    from diffusers import DiffusionPipeline
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    register_with_diffusers()
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    chosen = _choose_device(device)
    if dtype is Dtype.auto:
        dtype = Dtype.float16 if chosen.type == "cuda" else Dtype.float32
    typer.echo(f"loading {model} on {chosen} ({dtype.value})", err=True)
    with _mistakes_are_sentences():
        return DiffusionPipeline.from_pretrained(folder or model, dtype=getattr(torch, dtype.value)).to(chosen)


def _choose_device(device: Device) -> "torch.device":
    import torch

    if device is Device.auto:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device is Device.cuda and not torch.cuda.is_available():
        _fail("--device cuda: this machine's torch sees no CUDA GPU; leave the option out")
    if device is Device.mps and not torch.backends.mps.is_available():
        _fail("--device mps: this machine's torch sees no Apple GPU; leave the option out")
    return torch.device(device.value)


def _read_card(path: Path) -> tuple[str, str]:
    """The licence and the first paragraph of a model card."""
    if not path.is_file():
        return "not stated (the folder has no model card)", ""
    from huggingface_hub import ModelCard

    card = ModelCard.load(path)
    paragraphs = (block.strip() for block in card.text.split("\n\n"))
    summary = next((block for block in paragraphs if block and not block.startswith(("#", "|", "<", "!", "```"))), "")
    return str(card.data.license or "not stated"), summary


def _weigh(folder: Path) -> tuple[int, list[str], int]:
    """Parameters, their types and bytes of the weights in a component's folder, read from the files' headers.

    Weights that are there in several precisions are counted once.
    """
    from safetensors import safe_open

    parameters: dict[str, int] = {}
    size = 0
    dtypes: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        size += path.stat().st_size
        with safe_open(path, framework="numpy") as file:
            for key in file.keys():
                tensor = file.get_slice(key)
                parameters[key] = prod(tensor.get_shape())
                dtypes.add(tensor.get_dtype())
    return sum(parameters.values()), sorted(dtypes), size


if __name__ == "__main__":
    main()
