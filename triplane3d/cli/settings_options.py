"""Options of `triplane3d generate` for the mesh, made from the fields of `GenerateSettings`."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Annotated, Any, Literal

import typer

from triplane3d.cli.errors import errors_are_sentences
from triplane3d.settings import SETTINGS, TYPES, GenerateSettings


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with one option for each setting, where its signature has the parameter `settings`.

    typer reads the signature that is returned here. When the command runs, the options become one `GenerateSettings`.
    """

    @wraps(command)
    def run(**arguments: Any) -> None:
        with errors_are_sentences():
            settings = GenerateSettings(**{name: arguments.pop(name) for name in SETTINGS})
        command(settings=settings, **arguments)

    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        parameter = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += _setting_parameters() if parameter.name == "settings" else [parameter]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _setting_parameters() -> list[inspect.Parameter]:
    parameters = []
    for each in fields(GenerateSettings):
        about, accepted = SETTINGS[each.name], TYPES[each.name]
        # Without the declaration of a flag's name typer adds the flag --no-….
        names = (f"--{each.name.replace('_', '-')}",) if accepted is bool else ()
        option = typer.Option(*names, help=about.help, min=about.least, max=about.most, metavar=about.metavar)
        annotation: Any = Literal[about.choices] if about.choices else accepted
        annotation = Annotated[annotation | None if each.default is None else annotation, option]
        parameters.append(
            inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=annotation)
        )
    return parameters
