"""LoRA adapters of the pipeline's transformer: load, save, fuse, in diffusers' file format."""

import logging
import os
from collections.abc import Callable
from typing import Any

from diffusers.loaders import CogVideoXLoraLoaderMixin
from diffusers.utils.torch_utils import unwrap_module
from torch import Tensor, nn

logger = logging.getLogger(__name__)

StateDict = dict[str, Tensor]


class Triplane3DLoraLoaderMixin(CogVideoXLoraLoaderMixin):
    """diffusers' loader for adapters that live on `transformer` alone; only reading and saving check more.

    diffusers has no neutral base for such pipelines. Its mixin for CogVideoX depends on nothing of that model and
    serves other models there too.
    """

    @classmethod
    def lora_state_dict(
        cls, pretrained_model_name_or_path_or_dict: str | os.PathLike | StateDict, **kwargs: Any
    ) -> StateDict | tuple[StateDict, dict | None]:
        """The tensors of an adapter from a file, folder, Hub repository or dict; options as in diffusers.

        Returns:
            The tensors; with `return_lora_metadata=True` also the adapter's saved config, or None.

        Raises:
            ValueError: where a tensor is no part of an adapter, or there is none at all.
        """
        loaded = super().lora_state_dict(pretrained_model_name_or_path_or_dict, **kwargs)
        state_dict = loaded[0] if isinstance(loaded, tuple) else loaded
        foreign = next((key for key in state_dict if "lora" not in key), None)
        if foreign is not None or not state_dict:
            reason = "it holds no tensors" if foreign is None else f"{foreign!r} has no 'lora' in its name"
            raise ValueError(f"not a LoRA adapter: {reason}; pass what save_lora_weights wrote")
        return loaded

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
            transformer_lora_layers: the transformer that has the adapter, of which tensors and config are taken; or the
                tensors, as peft's `get_peft_model_state_dict` returns them.
            transformer_lora_adapter_metadata: the config that belongs to tensors, as a dict
                (`transformer.peft_config[adapter_name].to_dict()`).
            adapter_name: which adapter of the transformer; by default the only one, or the only active one.

        Raises:
            ValueError: where there is nothing to save, it is not clear which adapter is meant, or the file format
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
