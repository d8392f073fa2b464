"""Configurations: accepted keys and values, and the error messages for all others."""

import math
import os
import types
from dataclasses import asdict
from pathlib import Path
from typing import Literal, Union, get_args, get_origin

import pytest
import yaml

from triplane3d.config import (
    AugmentConfig,
    AutoencoderConfig,
    DenoiserConfig,
    DistillConfig,
    DrawsConfig,
    FlowMapConfig,
    LatentsConfig,
    OptimConfig,
    RefinerConfig,
    ShapesConfig,
    build,
    load_config,
    parse_config,
    save_config,
)
from triplane3d.config.loader import flatten, leaves, read_saved
from triplane3d.config.stages import RENAMED
from triplane3d.config.values import Range, convert

CONFIGS = Path(__file__).parents[1] / "configs"
STAGES = {
    "data": ShapesConfig,
    "autoencoder": AutoencoderConfig,
    "latents": LatentsConfig,
    "denoiser": DenoiserConfig,
    "distill": DistillConfig,
    "draws": DrawsConfig,
    "refiner": RefinerConfig,
}


def is_union(kind: object) -> bool:
    return get_origin(kind) in (types.UnionType, Union)


def has_number(kind: object) -> bool:
    """Whether an annotation is int or float, also in a tuple, with a range or with None. bool is not a number."""
    return kind in (int, float) or any(has_number(part) for part in get_args(kind) if get_origin(kind) is not Literal)


SMALL = {"pipeline": "p", "data": {"folder": "f"}, "run": {"output": "o", "steps": 10, "batch_size": 2}}


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_shipped_config_loads_and_begins_with_its_command(path):
    stage = STAGES[path.stem.partition("_")[0]]
    load_config(stage, path)
    first = path.read_text().splitlines()[0]
    script = next(word for word in first.split() if word.endswith(".py"))
    assert first.startswith("# ") and first.endswith(f" configs/{path.relative_to(CONFIGS)}")
    assert (CONFIGS.parent / script).is_file()
    assert stage.__name__ in (CONFIGS.parent / script).read_text()


@pytest.mark.parametrize(
    "section, key, nearest",
    [("optim", "lrs", "optim.lr"), ("optim", "warmup", "optim.warmup_steps"), ("run", "stepz", "run.steps")],
)
def test_an_unknown_key_suggests_the_nearest(section, key, nearest):
    values = {**SMALL, section: {**SMALL.get(section, {}), key: 1}}
    with pytest.raises(ValueError, match=f"unknown key '{section}.{key}'; did you mean '{nearest}'"):
        build(AutoencoderConfig, values)


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match="lacks run.steps"):
        build(AutoencoderConfig, {**SMALL, "run": {"output": "o", "batch_size": 2}})


@pytest.mark.parametrize(
    "key, value, sentence",
    [("steps", "many", "takes a number"), ("steps", 1.5, "whole number"), ("compile", "maybe", "true or false")],
)
def test_a_value_of_the_wrong_type_is_refused(key, value, sentence):
    with pytest.raises(ValueError, match=f"run.{key}.*{sentence}"):
        build(AutoencoderConfig, {**SMALL, "run": {**SMALL["run"], key: value}})


NUMBERS = [(stage, key, kind) for stage, cls in STAGES.items() for key, kind in leaves(cls) if has_number(kind)]


@pytest.mark.parametrize(("stage", "key", "kind"), NUMBERS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_number_has_a_range_and_values_outside_it_are_refused(stage: str, key: str, kind: object) -> None:
    inner, limits = number_and_range(kind)
    count = len(get_args(strip_none(kind))) if get_origin(strip_none(kind)) is tuple else 1

    def converted(value: object) -> object:
        return convert([value] * count if get_origin(strip_none(kind)) is tuple else value, kind, key)

    assert math.isfinite(limits.least) and math.isfinite(limits.most), "both ends are bounded"
    outside: list[object] = ["nan", "inf", "-inf", "yes", True, "1e308", 10**400, 1 << 20_000, "9" * 5000]
    outside += [2 * limits.most + 1, limits.least - 1]
    outside += [limits.least] * limits.least_open + [limits.most] * limits.most_open
    for value in outside:
        with pytest.raises(ValueError, match=f"^{key} takes .*, not ") as caught:
            converted(value)
        assert len(str(caught.value)) < 300
    if not limits.most_open:
        assert converted(inner(limits.most)) is not None
    if not limits.least_open:
        assert converted(inner(limits.least)) is not None


def strip_none(kind: object) -> object:
    return next((option for option in get_args(kind) if option is not type(None)), kind) if is_union(kind) else kind


def number_and_range(kind: object) -> tuple[type, Range]:
    kind = strip_none(kind)
    inner, *rules = get_args(get_args(kind)[0] if get_origin(kind) is tuple else kind) or [kind]
    assert rules and isinstance(rules[0], Range), f"{kind} has no range"
    return inner, rules[0]


def test_too_many_shards_are_refused():
    with pytest.raises(ValueError, match="more than 100,000 files: raise shard_size"):
        ShapesConfig(output="o", shapes=10**9, shard_size=512)


def test_long_texts_and_lists_are_refused():
    for key, value in (("output", "x" * 5000), ("output", "a\0b"), ("trackers", ["a"] * 1001)):
        with pytest.raises(ValueError, match=f"run.{key} takes") as caught:
            build(AutoencoderConfig, {**SMALL, "run": {**SMALL["run"], key: value}})
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "key, value",
    [
        ("run.steps", 0), ("run.batch_size", 0), ("run.accumulation", 0), ("run.workers", -1), ("run.log_every", 0),
        ("run.validate_every", 0), ("run.checkpoint_every", 0), ("run.checkpoint_limit", 0), ("run.max_minutes", 0),
        ("run.nonfinite_limit", -1), ("run.seed", 2**32), ("run.mixed_precision", "fp16"), ("run.output", ""),
        ("optim.lr", 0), ("optim.final_lr", 1.1), ("optim.warmup_steps", -1), ("optim.betas", (0.9, 1)),
        ("optim.betas", 0.9), ("optim.weight_decay", -0.1), ("optim.clip_norm", 0), ("optim.ema_decay", 1),
        ("data.surface_points", 0), ("data.label_points", 1), ("data.validation_pictures", 0), ("data.reuse", 0),
        ("loss.band", 0), ("loss.near_surface_share", 1.1), ("loss.kl", -1), ("loss.color_points", 0),
        ("loss.normal_points", 0),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_with_its_key_and_its_range(key, value):
    section, _, name = key.partition(".")
    values = {**SMALL, section: {**SMALL.get(section, {}), name: value}}
    with pytest.raises(ValueError, match=rf"^a.yaml: {key} takes .*, not "):
        build(AutoencoderConfig, values, where="a.yaml")


@pytest.mark.parametrize(
    "section, key, value",
    [(OptimConfig, "lr", -1.0), (FlowMapConfig, "finest", 12), (FlowMapConfig, "finest_share", 0.0),
     (FlowMapConfig, "on_policy", 1.5), (FlowMapConfig, "huber", -0.1), (AugmentConfig, "scale", 1.0)],
)  # fmt: skip
def test_a_section_built_in_python_is_checked(section, key, value):
    with pytest.raises(ValueError, match=f"{section.__name__}.{key} takes .*, not {value}"):
        section(**{key: value})


def test_large_whole_numbers_keep_all_their_digits():
    assert convert("9007199254740993", int, "") == 9007199254740993


def test_numbers_and_words_of_yaml_1_1_are_converted(tmp_path):
    path = tmp_path / "stage.yaml"
    path.write_text("pipeline: p\ndata: {folder: f}\noptim: {lr: 1e-3}\n"
                    "run: {output: o, steps: 1e3, batch_size: 2, mixed_precision: no}\n")  # fmt: skip
    config = load_config(AutoencoderConfig, path)
    assert (config.optim.lr, config.run.steps, config.run.mixed_precision) == (1e-3, 1000, "no")


@pytest.fixture
def stage(tmp_path) -> Path:
    save_config(build(AutoencoderConfig, SMALL), tmp_path / "stage.yaml")
    return tmp_path / "stage.yaml"


def test_a_saved_config_loads_with_the_same_values(stage):
    assert load_config(AutoencoderConfig, stage) == build(AutoencoderConfig, SMALL)


def test_flags_override_the_file(stage):
    flags = ["--steps", "7", "--optim.lr", "1e-4", "--batch-size", "3", "--set", "data.validation=none",
             "--set", "run.trackers=", "--optim.betas", "0.8,0.9"]  # fmt: skip
    config = parse_config(AutoencoderConfig, [str(stage), *flags])
    assert (config.run.steps, config.run.batch_size, config.optim.lr) == (7, 3, 1e-4)
    assert (config.data.validation, config.run.trackers, config.optim.betas) == (None, (), (0.8, 0.9))
    assert asdict(config)["data"]["folder"] == "f"


@pytest.mark.parametrize("flags", [["--stepps", "7"], ["--set", "stepps=7"], ["--run.stepps=7"]])
def test_an_unknown_flag_suggests_the_nearest_key(stage, flags, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_config(AutoencoderConfig, [str(stage), *flags])
    assert stopped.value.code == 2
    assert "did you mean 'run.steps'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, where",
    [(["--lr", "-0.1"], "command line, --lr"), (["--optim.lr=-1e-3"], "command line, --optim.lr"),
     (["--set", "optim.lr=0"], "command line, --set")],
)  # fmt: skip
def test_the_error_names_the_source_of_a_wrong_value(stage, flags, where, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_config(AutoencoderConfig, [str(stage), *flags])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {where}: optim.lr takes a number above 0 and at most 10, not ")
    stage.write_text(stage.read_text().replace("lr: 0.001\n", "lr: .inf\n"))
    with pytest.raises(SystemExit):
        parse_config(AutoencoderConfig, [str(stage), "--steps", "5"])
    assert capsys.readouterr().err.startswith(f"error: {stage}: optim.lr takes a finite number")


@pytest.mark.parametrize("given", STAGES)
@pytest.mark.parametrize("requested", STAGES)
def test_the_file_of_another_stage_is_recognized(given, requested, capsys):
    """A stage that gets the YAML file of another names the script of that file."""
    path = str(CONFIGS / "tiny" / f"{given}.yaml")
    if given == requested:
        assert isinstance(parse_config(STAGES[requested], [path]), STAGES[requested])
        return
    with pytest.raises(SystemExit):
        parse_config(STAGES[requested], [path])
    (line,) = capsys.readouterr().err.splitlines()
    script = Path(CONFIGS / "tiny" / f"{given}.yaml").read_text().split()[2]
    assert f"{path} is a configuration of {script}, not of scripts/" in line and "did you mean" not in line


@pytest.mark.parametrize(
    "text, sentence",
    [("run: 5", "run should be a section of keys, not 5"), ("- a", "should hold a mapping of keys"),
     ("a: *b", "is no plain YAML file"), (None, "check the path")],
)  # fmt: skip
def test_a_file_that_cannot_be_read_gives_one_sentence(tmp_path, text, sentence, capsys):
    path = tmp_path / "stage.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        parse_config(AutoencoderConfig, [str(path), "--run.steps", "5"])
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and line.startswith(f"error: {path}") and sentence in line


@pytest.mark.parametrize(
    "name", ["n" * 300, "loop", os.fsdecode(b"bytes\xff.yaml"), "esc\x1b[2Jx\ny.yaml", "file/x", "."]
)
def test_any_path_that_cannot_be_read_gives_one_printable_sentence(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("file").touch()
    for argument in (name, f"./{name}"):
        with pytest.raises(SystemExit) as stopped:
            parse_config(AutoencoderConfig, [argument])
        message = capsys.readouterr().err
        assert stopped.value.code == 2 and message.startswith("error: ") and message.count("\n") == 1
        assert "\x1b" not in message


@pytest.mark.parametrize("old", RENAMED)
def test_a_renamed_key_is_read_under_its_former_name(old: str, tmp_path: Path) -> None:
    """In a file, in `--set` and as a flag; a saved configuration is compared by the present names."""
    new = RENAMED[old]
    stage = next(name for name, cls in STAGES.items() if new in dict(leaves(cls)))
    values = flatten(load_config(STAGES[stage], CONFIGS / "tiny" / f"{stage}.yaml"))
    number = 0.25 if "near" in old else 3
    path = tmp_path / "stage.yaml"
    path.write_text(yaml.safe_dump(nested({**values, new: number}, {new: old})))
    with pytest.warns(FutureWarning, match=f"{path}: the key '{old}' is now called '{new}'"):
        assert flatten(load_config(STAGES[stage], path))[new] == number
    assert read_saved(path)[new] == number
    other = 0.75 if "near" in old else 2
    for flags in ([f"--{old}", str(other)], [f"--{old}={other}"], ["--set", f"{old}={other}"]):
        with pytest.warns(FutureWarning, match="command line, --"):
            config = parse_config(STAGES[stage], [str(CONFIGS / "tiny" / f"{stage}.yaml"), *flags])
        assert flatten(config)[new] == other
    path.write_text(yaml.safe_dump(nested({**values, new: number, old: number}, {})))
    with pytest.raises(ValueError, match="both are given"):
        load_config(STAGES[stage], path)


def nested(flat: dict, names: dict[str, str]) -> dict:
    """Dotted keys as sections, some of them under other names."""
    result: dict = {}
    for key, value in flat.items():
        *sections, name = names.get(key, key).split(".")
        section = result
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    return result
