"""Rules for the source: import directions, no import cycles, file names, docstrings and forbidden calls."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEVELS = [
    {"printing", "signals", "limits", "arguments", "file_formats", "diffusers_compat"},
    {"errors", "storage", "settings"},
    {"geometry", "config"},
    {"models", "assets"},
    {"images"},
    {"refinement"},
    {"data", "pipelines"},
    {"training", "evaluation", "convert"},
    {"model_loading"},
    {"generation"},
    {"cli", "app"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}

# Imports that close a cycle and are allowed, with the reason. Imports inside functions and for type checkers count.
ALLOWED_CYCLES: dict[tuple[str, str], str] = {}

PACKAGE = sorted((ROOT / "triplane3d").rglob("*.py"))
SOURCES = PACKAGE + [
    path for folder in ("scripts", "benchmarks", "tests") for path in sorted((ROOT / folder).rglob("*.py"))
]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported_modules(source: str) -> Iterator[str]:
    """Full names of every module that a file imports, at any place in the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def misdirected_imports(part: str, source: str) -> list[str]:
    """Imports of `triplane3d.<part>` from the same or a higher level."""
    wrong = []
    for name in imported_modules(source):
        top, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if top == "triplane3d" and target in LEVEL and target != part and LEVEL[target] >= LEVEL[part]:
            wrong.append(name)
        if top in ("scripts", "benchmarks", "tests"):
            wrong.append(name)
    return wrong


@pytest.mark.parametrize(
    "path", [path for path in PACKAGE if path.parent != ROOT / "triplane3d" or path.stem in LEVEL], ids=relative
)
def test_imports_are_from_lower_levels_only(path: Path) -> None:
    part = path.relative_to(ROOT / "triplane3d").parts[0].removesuffix(".py")
    assert part in LEVEL, f"LEVELS does not contain {part!r}; add it"
    assert not misdirected_imports(part, path.read_text())


def test_the_import_check_finds_a_wrong_import() -> None:
    assert misdirected_imports("geometry", "def f():\n    from triplane3d.models.triplane import TriplaneField")
    assert misdirected_imports("data", "import triplane3d.pipelines")
    assert not misdirected_imports("pipelines", "from triplane3d.geometry.mesh.mesh import Mesh\nimport torch")


def import_graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """For every module of `sources` (name → source) the modules of `sources` that it imports, at any place.

    `from package import name` counts as an import of `package.name` where that is a module, else of `package`.
    """
    graph = {}
    for module, source in sources.items():
        imported = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                members = {f"{node.module}.{alias.name}" for alias in node.names}
                imported |= members & set(sources) | ({node.module} if members - set(sources) else set())
        graph[module] = (imported & set(sources)) - {module}
    return graph


def modules_in_cycles(graph: dict[str, set[str]]) -> set[str]:
    """Modules on import cycles, or between two of them. The others have no imports or no importers, if modules without
    imports or importers are removed repeatedly."""
    rest = dict(graph)
    while True:
        imported = set().union(*rest.values())
        kept = {module: targets & set(rest) for module, targets in rest.items() if module in imported}
        kept = {module: targets for module, targets in kept.items() if targets & set(kept)}
        if kept == rest:
            return set(rest)
        rest = {module: targets & set(kept) for module, targets in kept.items()}


def package_sources() -> dict[str, str]:
    """The source of every module of the package, by its dotted name."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in PACKAGE]
    return {name: path.read_text() for name, path in zip(names, PACKAGE, strict=True)}


def test_there_are_no_import_cycles() -> None:
    graph = import_graph(package_sources())
    unused = [edge for edge in ALLOWED_CYCLES if edge[1] not in graph.get(edge[0], ())]
    assert not unused, "these imports no longer exist: remove them from ALLOWED_CYCLES"
    for module, target in ALLOWED_CYCLES:
        graph[module] = graph[module] - {target}
    assert not modules_in_cycles(graph)


def test_the_cycle_check_finds_a_cycle_through_a_function_and_through_a_package() -> None:
    lazy = {"a": "import b", "b": "def f():\n    from c import name", "c": "from a import name", "d": "import a"}
    assert modules_in_cycles(import_graph(lazy)) == {"a", "b", "c"}
    package = {"p": "from p import member", "p.member": "from p import name"}
    assert modules_in_cycles(import_graph(package)) == {"p", "p.member"}
    assert not modules_in_cycles(import_graph({"a": "import b, c", "b": "import c", "c": "import os"}))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_are_short_have_a_specific_name_and_begin_with_a_docstring(path: Path) -> None:
    source = path.read_text()
    assert path.stem not in ("utils", "util", "helpers", "common", "misc")
    assert len(source.splitlines()) <= 500
    if source.strip():
        assert ast.get_docstring(ast.parse(source)), "a file begins with its docstring"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_file_unpickles_data_or_catches_all_exceptions(path: Path) -> None:
    """Files of users must not run code: tensors are read from safetensors or by the converters' restricted reader."""
    tree = ast.parse(path.read_text())
    restricted = relative(path) == "triplane3d/convert/checkpoint.py"
    forbidden = {"dill", "joblib"} if restricted else {"pickle", "dill", "joblib"}
    assert not forbidden & set(imported_modules(path.read_text()))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) != "torch.load" or restricted, f"line {node.lineno}: torch.load unpickles"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert options["weights_only"] == "True", f"line {node.lineno}: objects that are not tensors can run code"
        if isinstance(node, ast.ExceptHandler):
            blanket = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            assert not blanket, f"line {node.lineno}: catch specific exceptions"


@pytest.mark.parametrize("path", [*PACKAGE, *sorted((ROOT / "scripts").glob("*.py"))], ids=relative)
def test_lines_are_printed_by_one_function(path: Path) -> None:
    """It escapes control characters, which names of files can contain."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    printing = [node.lineno for node in calls if ast.unparse(node.func) in ("print", "typer.echo", "typer.secho")]
    assert not printing or relative(path) == "triplane3d/printing.py", f"lines {printing}: use print_line"
