"""LoRA adapters of the pipeline's transformer: load, save and fuse, in diffusers' file format (Hu et al. 2021)."""

import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffusers.loaders import CogVideoXLoraLoaderMixin
from diffusers.utils.torch_utils import unwrap_module
from torch import Tensor, nn

from triplane3d.limits import read_weights_header
from triplane3d.pipelines.checks import loading_errors

logger = logging.getLogger(__name__)

StateDict = dict[str, Tensor]

FACTOR = re.compile(r"transformer\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight")
"""Name of a tensor of an adapter. A, (rank, inputs), and B, (outputs, rank), add scale · B·A to a layer's weight."""


class Triplane3DLoraLoaderMixin(CogVideoXLoraLoaderMixin):
    """diffusers' loader for adapters of a component called `transformer`, with more checks on loading and saving.

    diffusers has no neutral base class for such pipelines. Its mixin for CogVideoX does not depend on that model, and
    diffusers uses it for other models too.
    """

    @classmethod
    def lora_state_dict(
        cls, pretrained_model_name_or_path_or_dict: str | os.PathLike | StateDict, **kwargs: Any
    ) -> StateDict | tuple[StateDict, dict | None]:
        """The tensors of an adapter from a file, folder, Hub repository or dict; options as in diffusers.

        Only safetensors files are read, unless `use_safetensors=False` is passed. Pickles are then read by
        `torch.load(weights_only=True)`, which builds nothing but tensors.

        Returns:
            The tensors; with `return_lora_metadata=True` also the adapter's saved config, or None.

        Raises:
            ValueError: if the file is damaged, or its content is not an adapter with finite values.
            OSError: if there is no such file.
        """
        source = pretrained_model_name_or_path_or_dict
        where = "the LoRA" if isinstance(source, dict) else str(source)
        if kwargs.get("use_safetensors") is None:
            kwargs["use_safetensors"] = True
        if kwargs["use_safetensors"] and not isinstance(source, dict):
            _check_files(Path(source), kwargs.get("subfolder"), kwargs.get("weight_name"))
        with loading_errors(where):
            loaded = super().lora_state_dict(source, **kwargs)
        state_dict = loaded[0] if isinstance(loaded, tuple) else loaded
        check_adapter_tensors(state_dict)
        return loaded

    @classmethod
    def load_lora_into_transformer(
        cls, state_dict: StateDict, transformer: nn.Module, *args: Any, metadata: dict | None = None, **kwargs: Any
    ) -> None:
        """diffusers' method, which `load_lora_weights` calls, after a check that the tensors fit the transformer.

        Raises:
            ValueError: if they do not fit. The transformer is not changed.
        """
        check_adapter_fits(state_dict, transformer)
        check_adapter_config(metadata or {}, state_dict)
        with loading_errors("the LoRA"):
            super().load_lora_into_transformer(state_dict, transformer, *args, metadata=metadata, **kwargs)

    @classmethod
    def save_lora_weights(
        cls,
        save_directory: str | os.PathLike,
        transformer_lora_layers: nn.Module | StateDict | None = None,
        is_main_process: bool = True,
        weight_name: str | None = None,
        save_function: Callable | None = None,
        safe_serialization: bool = True,
        transformer_lora_adapter_metadata: dict | None = None,
        *,
        adapter_name: str | None = None,
    ) -> None:
        """Write an adapter to `pytorch_lora_weights.safetensors` in `save_directory`.

        An adapter is its tensors and its config, above all the scale alpha / rank. The tensors alone do not hold alpha,
        and a file without the config loads as if alpha were the rank.

        Args:
            transformer_lora_layers: the transformer with the adapter, of which tensors and config are taken; or the
                tensors, as peft's `get_peft_model_state_dict` returns them.
            transformer_lora_adapter_metadata: the config that belongs to tensors, as a dict
                (`transformer.peft_config[adapter_name].to_dict()`).
            adapter_name: which adapter of the transformer; by default the only one, or the only active one.

        Raises:
            ValueError: if there is nothing to save, several adapters could be meant, or the file format
                (`safe_serialization=False`) cannot hold the config.
        """
        if isinstance(transformer_lora_layers, nn.Module):
            if transformer_lora_adapter_metadata is not None:
                raise ValueError("transformer_lora_adapter_metadata goes with tensors; a transformer has its own")
            layers, metadata = _adapter_of(unwrap_module(transformer_lora_layers), adapter_name)
        elif not transformer_lora_layers:
            raise ValueError("nothing to save: pass the transformer that has the adapter, or the adapter's tensors")
        else:
            layers, metadata = transformer_lora_layers, transformer_lora_adapter_metadata
        if not metadata or save_function is not None:
            logger.warning(
                "this LoRA is saved without its config, and will be loaded as if alpha were the rank; to keep alpha, "
                "pass the transformer itself as `transformer_lora_layers`, and no `save_function`"
            )
        super().save_lora_weights(
            save_directory,
            layers,
            is_main_process=is_main_process,
            weight_name=weight_name,
            save_function=save_function,
            safe_serialization=safe_serialization,
            transformer_lora_adapter_metadata=metadata,
        )


def check_adapter_tensors(state_dict: Mapping[str, Any]) -> None:
    """Raise a ValueError if these are not the tensors of an adapter, or hold NaN or infinite values."""
    foreign = next((str(key) for key in state_dict if "lora" not in str(key)), None)
    if foreign is not None or not state_dict:
        reason = "it holds no tensors" if foreign is None else f"{foreign[:80]!r} has no 'lora' in its name"
        raise ValueError(f"not a LoRA adapter: {reason}; pass what save_lora_weights wrote")
    for name, tensor in state_dict.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"not a LoRA adapter: {str(name)[:80]!r} is no tensor but {type(tensor).__name__}")
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"the LoRA holds NaN or infinite values in {str(name)[:80]!r}: train or download it again")


def check_adapter_fits(state_dict: StateDict, transformer: nn.Module) -> None:
    """Raise a ValueError if the adapter's tensors do not fit the transformer's layers.

    Tensors in other formats than peft's (no `lora_A` in their names) are converted by diffusers and not checked here.
    """
    if not any(name.startswith("transformer.") for name in state_dict):
        raise ValueError(
            f"the LoRA is not for this pipeline: no name of a tensor begins with 'transformer.', the first is "
            f"{next(iter(state_dict))[:80]!r}"
        )
    factors: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state_dict.items():
        if match := FACTOR.fullmatch(name):
            factors.setdefault(match["module"], {})[match["factor"]] = tensor
    layers = dict(transformer.named_modules())
    for name, pair in factors.items():
        layer = layers.get(name)
        if layer is None:
            raise ValueError(f"the LoRA is for another model: this transformer has no layer {name[:80]!r}")
        if pair.keys() != {"A", "B"}:
            lacking = "B" if "A" in pair else "A"
            raise ValueError(f"the LoRA is incomplete: it has no lora_{lacking} for the layer {name!r}")
        layer = getattr(layer, "base_layer", layer)  # where another adapter is attached
        if not isinstance(layer, nn.Linear):
            continue
        down, up = tuple(pair["A"].shape), tuple(pair["B"].shape)
        rank = pair["A"].shape[0] if pair["A"].ndim else 0
        if rank < 1 or down != (rank, layer.in_features) or up != (layer.out_features, rank):
            raise ValueError(
                f"the LoRA is for another model: for the layer {name!r} it has lora_A {down} and lora_B {up}, where "
                f"(rank, {layer.in_features}) and ({layer.out_features}, rank) are expected"
            )


def check_adapter_config(metadata: Mapping[str, Any], state_dict: StateDict) -> None:
    """Raise a ValueError if the config saved with an adapter would take more memory than its tensors, or import code.

    Args:
        metadata: the config, with "transformer." before each key.
        state_dict: the adapter's tensors.
    """
    ranks = [tensor.shape[0] for name, tensor in state_dict.items() if ".lora_A." in name and tensor.ndim]
    most = max(ranks, default=None)
    patterns = metadata.get("transformer.rank_pattern") or {}
    declared = [metadata.get("transformer.r"), *(patterns.values() if isinstance(patterns, Mapping) else [patterns])]
    for rank in declared:
        whole = isinstance(rank, int) and not isinstance(rank, bool) and rank >= 1
        if rank is not None and (not whole or (most is not None and rank > most)):
            raise ValueError(f"the LoRA's config has the rank {str(rank)[:40]}, where its tensors have at most {most}")
    alpha = metadata.get("transformer.lora_alpha", 1)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise ValueError(f"the LoRA's config has lora_alpha={str(alpha)[:40]}, where a finite number is expected")
    # peft imports the module that `megatron_core` names if `megatron_config` is set.
    if metadata.get("transformer.megatron_config") is not None:
        raise ValueError("the LoRA's config sets megatron_config, which makes peft import a module: this is refused")


def _check_files(source: Path, subfolder: str | None, weight_name: str | None) -> None:
    """Check the headers of the safetensors files at a local `source`, and that no pickle is named."""
    name = weight_name or (source.name if source.is_file() else "")
    if name and not name.endswith(".safetensors"):
        raise ValueError(
            f"{source if source.is_file() else f'{source}/{name}'} is no safetensors file, and others are not read by "
            "default: they are pickles. Pass use_safetensors=False to read the tensors of one"
        )
    folder = source / (subfolder or "")
    for path in [source] if source.is_file() else sorted(folder.glob(weight_name or "*.safetensors")):
        read_weights_header(path)


def _adapter_of(transformer: nn.Module, adapter_name: str | None) -> tuple[StateDict, dict[str, Any]]:
    """Tensors and config of one adapter of a transformer."""
    from peft.utils import get_peft_model_state_dict

    configs = getattr(transformer, "peft_config", None) or {}
    if not configs:
        raise ValueError(f"nothing to save: no LoRA is attached to this {type(transformer).__name__}")
    names = [adapter_name] if adapter_name else list(configs)
    if len(names) > 1:
        names = transformer.active_adapters()
    if len(names) != 1 or names[0] not in configs:
        raise ValueError(f"adapter_name must be one of {sorted(configs)}, got {adapter_name!r}")
    return get_peft_model_state_dict(transformer, adapter_name=names[0]), configs[names[0]].to_dict()
