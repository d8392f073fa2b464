"""`triplane3d convert`: converts public checkpoints to saved pipelines."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from triplane3d.cli.console import print_result
from triplane3d.cli.errors import errors_are_sentences


class Variant(StrEnum):
    """Half precision in which the weights are written as well."""

    fp16 = "fp16"
    bf16 = "bf16"


app = typer.Typer(
    help="Convert public checkpoints to saved pipelines, for --model.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def as_path(text: str) -> Path:
    """The argument as a path. An empty one would be the current folder."""
    if not text:
        raise typer.BadParameter("the name is empty")
    return Path(text)


Checkpoint = Annotated[
    Path, typer.Argument(metavar="CKPT", parser=as_path, help="The downloaded model.ckpt, or its folder.")
]
Output = Annotated[Path, typer.Argument(metavar="OUT", parser=as_path, help="A new folder for the pipeline.")]
Settings = Annotated[
    Path | None,
    typer.Option("--config", parser=as_path, help="Its config.yaml. Default: the one beside the checkpoint."),
]
HalfToo = Annotated[Variant | None, typer.Option(help="Write the weights in half precision as well.")]
ShardSize = Annotated[str, typer.Option(help="Largest size of a weight file, such as 5GB; larger ones are split.")]


@app.command("direct3d", no_args_is_help=True)
def convert_direct3d(
    checkpoint: Checkpoint,
    output: Output,
    settings: Settings = None,
    skip_encoders: Annotated[
        bool,
        typer.Option("--skip-encoders", help="Leave out the two image encoders, which are not part of the checkpoint."),
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

    with errors_are_sentences():
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
    print_result(f"{output}: a pipeline; see: triplane3d info {output}")


@app.command("triposr", no_args_is_help=True)
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

    with errors_are_sentences():
        convert_triposr(
            checkpoint,
            output,
            settings=settings,
            variant=None if variant is None else variant.value,
            max_shard_size=max_shard_size,
        )
    print_result(f"{output}: a pipeline; see: triplane3d info {output}")
