"""The `triplane3d` command. One file per subcommand: `generate`, `info`, `convert`.

Exit codes: 0 success, 1 failure, 2 wrong input, 130 stopped by the user. Where several photos fail, 1 comes before 2.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from triplane3d.cli import convert, generate, info
from triplane3d.cli.console import print_result
from triplane3d.cli.errors import SubcommandGroup, stops_are_recorded
from triplane3d.cli.photos import PhotosCommand

app = typer.Typer(
    cls=SubcommandGroup,
    help="Turn photos of objects into 3D meshes.",
    epilog="Try: triplane3d generate chair.png -o chair.glb --preview chair.webp",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(cls=PhotosCommand, no_args_is_help=True)(generate.generate)
app.command(no_args_is_help=True)(info.info)
app.add_typer(convert.app, name="convert")


@app.callback(invoke_without_command=True)
def _options(
    show_version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and stop.")] = False,
) -> None:
    if show_version:
        try:
            print_result(version("triplane3d"))
        except PackageNotFoundError:
            print_result("not installed (run from a checkout)")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    with stops_are_recorded():
        app()
