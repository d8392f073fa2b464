"""docs/command.md names existing options and exit codes."""

import re
from pathlib import Path

import typer.main

from triplane3d.cli import app
from triplane3d.cli.errors import FAILURE, MISTAKE, STOPPED

PAGE = (Path(__file__).parents[2] / "docs" / "command.md").read_text()


def test_the_page_names_existing_options_and_exit_codes() -> None:
    generate = typer.main.get_command(app).commands["generate"]
    options = {name for parameter in generate.params for name in parameter.opts}
    named = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", PAGE)) - {"--help", "-m", "-s"}
    assert {"-o", "--format", "--variant", "--revision"} <= named <= options
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)] == [0, FAILURE, MISTAKE, STOPPED]
