"""Limits on the sizes that a file may declare, and readers that apply them.

A downloaded pipeline, checkpoint, configuration or photo declares sizes: layers, time steps, nested sections, scans.
Each is compared with `LIMITS` before anything is built, so that a small file cannot use up all time or memory.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import yaml


class Limit(NamedTuple):
    """The largest accepted value, its unit, and the reason for it."""

    most: int
    unit: str
    reason: str


LIMITS: dict[str, Limit] = {
    # Files
    "json": Limit(8 << 20, "bytes", "a config with the 21,843 class names of ImageNet has 1.5 MB"),
    "index": Limit(32 << 20, "bytes", "the list of a sharded checkpoint's 100,000 tensors has 10 MB"),
    "yaml": Limit(256 << 10, "bytes", "published settings have 4 kB, and the parser reads 100 kB a second"),
    "card": Limit(1 << 20, "bytes", "the longest model cards have 200 kB"),
    "nodes": Limit(400_000, "values", "the class names of ImageNet, twice, are 90,000"),
    "yaml_nodes": Limit(20_000, "values", "published settings have 200; an anchor counts each time it is used"),
    "depth": Limit(64, "levels", "published configs nest 6 levels; Python's stack ends near 1000"),
    "references": Limit(1_000, "references ${…}", "published settings have 20; each may double the one before it"),
    "text": Limit(10_000, "characters", "a setting made of references is a path or a name"),
    "header": Limit(25 << 20, "bytes", "100,000 tensors take 12 MB of a safetensors header"),
    "tensors": Limit(100_000, "tensors", "a network of 1,000 layers has 20,000"),
    # Numbers in a model's or scheduler's config
    "layers": Limit(1_000, "layers", "the deepest vision transformers have 48; every layer takes time to build"),
    "heads": Limit(1_024, "heads", "the widest transformers have 128"),
    "width": Limit(1 << 20, "numbers", "the widest layers in use have 65,536, the largest vocabularies 256,000"),
    "side": Limit(4_096, "pixels", "position tables and planes grow with the square; published models have 518"),
    "patch": Limit(256, "pixels", "published models have 8 to 32"),
    "frequencies": Limit(64, "frequencies", "each doubles the last; float32 ends near 2¹²⁷"),
    "samples": Limit(4_096, "samples", "published radiance fields take 128 along a ray"),
    "timesteps": Limit(100_000, "steps", "schedulers compute tables of this length, 1,000 in published ones"),
    "list": Limit(100_000, "entries", "the longest list is a scheduler's table of its timesteps"),
    "parameters": Limit(20_000_000_000, "parameters", "80 GB in float32, the largest graphics card"),
    # Photos
    "photo": Limit(1 << 30, "bytes", "128 megapixels of 16-bit colour without compression have 768 MB"),
    "scans": Limit(64, "scans", "encoders write 10; each costs one pass over the picture"),
    "scan_pixels": Limit(1_600_000_000, "pixels in all scans", "10 scans of the largest photo, 10 s of decoding"),
    "segments": Limit(10_000, "segments", "a JPEG with a 4 MB profile has 100, each of 64 kB"),
    "chunks": Limit(200_000, "chunks", "a 768 MB PNG in chunks of 8 kB has 94,000"),
    "text_photo": Limit(8 << 20, "bytes of numbers as text", "the decoder reads 2 MB a second; save it as PNG"),
}
"""The limits by name."""


def check(name: str, value: float, what: str) -> None:
    """Refuse a `value` above the limit `name`. `what` is the beginning of the error message.

    Raises:
        ValueError: the message contains the value, the limit and its reason.
    """
    limit = LIMITS[name]
    if value > limit.most:
        raise ValueError(
            f"{what}: {_number(value)} {limit.unit}, where at most {limit.most:,} are accepted ({limit.reason})"
        )


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) and abs(value) < 10**15 else f"{float(min(value, 1e300)):.3g}"


# Files of settings


def read_text(path: Path, limit: str) -> str:
    """The text of a file that is not larger than the limit.

    Raises:
        ValueError: the file is larger, or not UTF-8 text.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            content = file.read(LIMITS[limit].most + 1)
        except OSError as error:  # without the name of the file
            raise OSError(error.errno, f"{path} cannot be read ({error.strerror}): copy it anew") from error
    if len(content) > LIMITS[limit].most:
        check(limit, path.stat().st_size, str(path))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}): download it again, or save it as UTF-8") from error


def read_json(path: str | Path, *, limit: str = "json") -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ValueError: where the file is too large, no JSON, no object, or nested too deeply.
        OSError: where it cannot be read.
    """
    path = Path(path)
    text = read_text(path, limit)
    try:
        values = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply: at most {LIMITS['depth'].most} levels are accepted") from error
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): download it again") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold an object of keys and values, not {type(values).__name__}")
    check_nesting(values, str(path))
    return values


def check_nesting(values: Any, where: str) -> None:
    """Refuse too many or too deeply nested values. They must not contain themselves."""
    count, level, depth = 0, [values], 0
    while level:
        count, depth = count + len(level), depth + 1
        check("nodes", count, where)
        check("depth", depth, where)
        level = [item for value in level for item in _items(value)]


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value


class BoundedLoader(yaml.SafeLoader):
    """PyYAML's safe loader, with limits on nesting and on the values after all anchors are written out.

    Values are counted while the text is parsed, before anything is built. An alias, also in a merge key (`<<`), counts
    as many values as it refers to. A value that contains itself is refused.

    Raises:
        yaml.YAMLError: beyond a limit.
    """

    def __init__(self, stream: Any):
        super().__init__(stream)
        self.depth = self.nodes = 0
        self.sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        alias = self.check_event(yaml.AliasEvent)
        before, self.depth = self.nodes, self.depth + 1
        self._check("depth", self.depth)
        node = super().compose_node(parent, index)
        assert node is not None, "only a document may be empty, and it has no parent"
        self.depth -= 1
        if alias and node not in self.sizes:
            raise yaml.YAMLError("an anchor contains itself: write the values out")
        self.nodes += self.sizes[node] if alias else 1
        self._check("yaml_nodes", self.nodes)
        self.sizes.setdefault(node, self.nodes - before)
        return node

    def resolve(self, kind: type, value: str | None, implicit: Any) -> str:
        # PyYAML matches text without quotes with regular expressions for numbers, in time quadratic in its length.
        if kind is yaml.ScalarNode and implicit[0] and len(value or "") > 100:
            return self.DEFAULT_SCALAR_TAG
        return super().resolve(kind, value, implicit)

    def _check(self, name: str, value: int) -> None:
        try:
            check(name, value, "with all anchors written out" if name == "yaml_nodes" else "nested values")
        except ValueError as error:
            raise yaml.YAMLError(str(error)) from None


def read_yaml(path: str | Path, loader: type[BoundedLoader] = BoundedLoader) -> Any:
    """The values in a YAML file.

    Raises:
        ValueError: where the file is too large, no plain YAML, or beyond a limit of `BoundedLoader`.
        OSError: where it cannot be read.
    """
    path = Path(path)
    return parse_yaml(read_text(path, "yaml"), str(path), loader)


def parse_yaml(text: str, where: str, loader: type[BoundedLoader] = BoundedLoader) -> Any:
    """The values in a YAML text; `where` begins the sentence of an error.

    Raises:
        ValueError: as `read_yaml`.
    """
    try:
        return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, LookupError, AttributeError, RecursionError) as error:
        # PyYAML does not convert the errors of int(), datetime() and unhashable keys to its own.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{where} is no plain YAML file ({reason}): download it again, or mend that line") from error


# Configs of models and schedulers


@dataclass(frozen=True)
class _Kind:
    """Keys of a config, and the limit of their numbers."""

    pattern: re.Pattern
    limit: str


KINDS = [
    _Kind(re.compile(pattern), limit)
    for pattern, limit in (
        (r"timesteps|inference_steps", "timesteps"),
        (r"heads$", "heads"),
        (r"patch_size$", "patch"),
        (r"freqs$", "frequencies"),
        (r"samples_per_ray$", "samples"),
        (r"layers$|^depths?$|_depth$|layers_per_block$|num_stages$", "layers"),
        (r"(image|plane|latent|sample|pixel|img|input)_size$|resolution$", "side"),
    )
]
"""The limit of each key of a config: the first pattern that matches; "width" for all others."""


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Refuse a saved config with numbers beyond the limits, before anything is built from it.

    Args:
        config: of a model, a scheduler or a pipeline, as in its JSON file.
        where: name of the file or class, the beginning of the error message.

    Raises:
        ValueError: for a whole number beyond its limit, NaN, an infinite number other than a scheduler's
            `lambda_min_clipped`, a list too long, values nested too deeply, or too many parameters in all.
    """
    check_nesting(config, where)
    _check_numbers(config, where)
    check("parameters", estimated_parameters(config), f"{where} describes a network too large to load")


def _check_numbers(config: Mapping[str, Any], where: str) -> None:
    for key, value in config.items():
        name = f"{where}: {key}"
        if isinstance(value, Mapping):
            # Class names are not sizes, and there may be thousands of them.
            if key not in ("id2label", "label2id"):
                _check_numbers(value, name)
            continue
        if isinstance(value, list | tuple):
            check("list", len(value), name)
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, Mapping):
                _check_numbers(number, name)
            elif isinstance(number, int | float) and not isinstance(number, bool):
                _check_number(str(key), number, name)


def _check_number(key: str, number: float, name: str) -> None:
    infinite = isinstance(number, float) and math.isinf(number)  # a long integer has no float
    if number != number or (infinite and key != "lambda_min_clipped"):
        raise ValueError(f"{name} must be a finite number, got {number}")
    kind = next((kind.limit for kind in KINDS if kind.pattern.search(key)), "width")
    if isinstance(number, int) or kind != "width":
        check(kind, abs(number), name)


def estimated_parameters(config: Mapping[str, Any]) -> int:
    """Approximate number of parameters of a network with this config, from the names of its numbers; 0 without layers.

    Each layer is counted as a transformer layer, with attention and a feed-forward network of the widths found.
    Position tables and the layers that read and write patches are added. The order of magnitude is correct.
    """
    total = sum(estimated_parameters(value) for value in config.values() if isinstance(value, Mapping))
    width = max(_largest(config, WIDTHS), _largest(config, "heads$") * _largest(config, "head_dim$"))
    inner = max(4 * width, width * _largest(config, "mlp_ratio$"), _largest(config, INNER_WIDTHS))
    layers = sum(
        sum(_numbers(value)) if key == "depths" else max(_numbers(value), default=0)
        for key, value in config.items()
        if re.search("layers$|^depths?$", str(key))
    )
    total += (layers + 1) * width * (6 * width + 2 * inner + 2 * _largest(config, OUTER_WIDTHS))
    total += _largest(config, "vocab_size$") * width

    patch = max(1, _largest(config, "patch_size$"))
    channels = max(3, _largest(config, "(in|num|plane|latent|field)_channels$"))
    latent = _largest(config, "^latent_size$")
    grid = max(1, latent // patch)  # of the autoencoder: tokens along a side of a plane
    tokens = (_largest(config, "^(image_size|img_size|input_size)$") // patch) ** 2
    tokens += 3 * max(latent, _largest(config, "^sample_size$"), 0 if latent else _largest(config, "^plane_size$")) ** 2
    numbers_of_token = 2 * channels * patch**2
    if latent:
        numbers_of_token += (_largest(config, "^plane_size$") // grid) ** 2 * channels
        pixels = (_largest(config, "^projection_resolution$") // grid) ** 2
        numbers_of_token += pixels * (20 + 4 * _largest(config, "freqs$"))
    return int(total + (tokens + numbers_of_token) * width)


WIDTHS = "^(hidden_size|hidden_sizes|embed_dim|d_model|encoder_dim|decoder_dim|field_hidden_dim|block_out_channels)$"
INNER_WIDTHS = "^(intermediate_size|encoder_ff_dim|ffn_dim|ff_dim)$"
OUTER_WIDTHS = "^(cross_attention_dim|pixel_attention_dim|projection_dim|token_channels|latent_channels)$"
"""Keys of the widths of layers, of their feed-forward networks, and of their further inputs and outputs."""


def _largest(config: Mapping[str, Any], pattern: str) -> int:
    return max(
        (number for key, value in config.items() if re.search(pattern, str(key)) for number in _numbers(value)),
        default=0,
    )


def _numbers(value: Any) -> list[int]:
    values = value if isinstance(value, list | tuple) else [value]
    return [abs(int(number)) for number in values if isinstance(number, int | float) and not isinstance(number, bool)]


# Weights

SIZES = {
    "F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
}  # fmt: skip
"""Bytes per number of each accepted type in a safetensors file."""


class TensorHeader(NamedTuple):
    """Type and shape of a tensor in the header of a safetensors file."""

    dtype: str
    shape: tuple[int, ...]


def read_weights_header(path: str | Path) -> dict[str, TensorHeader]:
    """Names, types and shapes of the tensors of a safetensors file, each checked against its number of bytes.

    Raises:
        ValueError: the header is damaged, too long, or does not fit the file. The message names file and tensor.
        OSError: the file cannot be read.
    """
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ValueError(f"{path} is not a complete safetensors file: its header is cut short; download it again")
        check("header", length, str(path))
        content = file.read(length)
    try:
        header = json.loads(content)
    except RecursionError as error:
        raise ValueError(f"{path} has a header that is nested too deeply: download it again") from error
    except ValueError as error:
        raise ValueError(f"{path} is not a complete safetensors file ({error}): download it again") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path} has a header that is no object of tensors: download it again")
    check("tensors", len(header), str(path))
    tensors, spans = {}, []
    for name, entry in header.items():
        if name != "__metadata__":
            where = f"{path}: the tensor {name[:80]!r}"
            tensors[name], span = _tensor_header(entry, where)
            spans.append((*span, where))
    end = 0
    for start, stop, where in sorted(spans):
        if start != end:
            raise ValueError(f"{where} begins at byte {start} of the data, not at {end}: the file is damaged")
        end = stop
    if end != size - 8 - length:
        raise ValueError(f"{path} is not a complete safetensors file: it contains {size - 8 - length} bytes of data, "
                         f"its header describes {end}; download it again")  # fmt: skip
    return tensors


def _tensor_header(entry: object, where: str) -> tuple[TensorHeader, tuple[int, int]]:
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
        raise ValueError(f"{where} lacks its dtype, shape or data_offsets: the file is damaged")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in list(SIZES):
        raise ValueError(f"{where} has the type {str(dtype)[:40]!r}, not one of {', '.join(SIZES)}")
    for numbers in (shape, offsets):
        whole = isinstance(numbers, list) and all(type(number) is int and 0 <= number < 2**63 for number in numbers)
        if not whole or len(numbers) > 64:
            raise ValueError(
                f"{where} has a shape or data_offsets that is no list of whole numbers: the file is damaged"
            )
    if len(offsets) != 2 or offsets[1] - offsets[0] != prod(shape) * SIZES[dtype]:
        raise ValueError(f"{where} of shape {tuple(shape)} and type {dtype} does not fit its bytes {offsets}: "
                         f"the file is damaged")  # fmt: skip
    return TensorHeader(dtype, tuple(shape)), (offsets[0], offsets[1])
