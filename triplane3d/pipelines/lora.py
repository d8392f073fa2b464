"""LoRA adapters for the pipeline's transformer: load, save, fuse, in diffusers' file format."""

import os
from collections.abc import Callable
from typing import Any

from diffusers.loaders.lora_base import LoraBaseMixin, _fetch_state_dict
from diffusers.utils import require_peft_backend
from huggingface_hub.utils import validate_hf_hub_args
from torch import Tensor, nn

StateDict = dict[str, Tensor]

DOWNLOAD_OPTIONS = (
    "cache_dir", "force_download", "proxies", "local_files_only", "token", "revision", "subfolder", "weight_name",
)  # fmt: skip


class Triplane3DLoraLoaderMixin(LoraBaseMixin):
    """What `LoraBaseMixin` leaves to each family of pipelines; adapters live on the transformer only."""

    _lora_loadable_modules = ["transformer"]
    transformer_name = "transformer"

    @classmethod
    @validate_hf_hub_args
    def lora_state_dict(
        cls, pretrained_model_name_or_path_or_dict: str | os.PathLike | StateDict, **kwargs: Any
    ) -> StateDict | tuple[StateDict, dict | None]:
        """The adapter's tensors from a file, folder, Hub repository or dict; and its metadata if asked for.

        Safetensors are preferred. A pickled `.bin` is read, tensors only, unless `use_safetensors=True`.
        """
        use_safetensors = kwargs.pop("use_safetensors", None)
        state_dict, metadata = _fetch_state_dict(
            pretrained_model_name_or_path_or_dict=pretrained_model_name_or_path_or_dict,
            use_safetensors=use_safetensors is not False,
            allow_pickle=use_safetensors is None,
            user_agent={"file_type": "attn_procs_weights", "framework": "pytorch"},
            **{option: kwargs.pop(option, None) for option in DOWNLOAD_OPTIONS},
        )
        return (state_dict, metadata) if kwargs.pop("return_lora_metadata", False) else state_dict

    @require_peft_backend
    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | os.PathLike | StateDict,
        adapter_name: str | None = None,
        hotswap: bool = False,
        **kwargs: Any,
    ) -> None:
        """Attach an adapter to the transformer. `hotswap=True` replaces the weights of the adapter of that name."""
        low_cpu_mem_usage = kwargs.pop("low_cpu_mem_usage", True)
        if isinstance(pretrained_model_name_or_path_or_dict, dict):
            # Loading empties the dict it is given.
            pretrained_model_name_or_path_or_dict = dict(pretrained_model_name_or_path_or_dict)
        loaded: Any = self.lora_state_dict(pretrained_model_name_or_path_or_dict, return_lora_metadata=True, **kwargs)
        state_dict, metadata = loaded
        strangers = [key for key in state_dict if "lora" not in key]
        if strangers or not state_dict:
            raise ValueError(
                "not a LoRA adapter: "
                + (f"{strangers[0]!r} has no 'lora' in its name" if strangers else "it holds no tensors")
                + "; pass what save_lora_weights wrote"
            )
        self.load_lora_into_transformer(
            state_dict,
            transformer=self.transformer,
            adapter_name=adapter_name,
            metadata=metadata,
            _pipeline=self,
            low_cpu_mem_usage=low_cpu_mem_usage,
            hotswap=hotswap,
        )

    @classmethod
    def load_lora_into_transformer(
        cls,
        state_dict: StateDict,
        transformer: nn.Module,
        adapter_name: str | None = None,
        _pipeline: object | None = None,
        low_cpu_mem_usage: bool = False,
        hotswap: bool = False,
        metadata: dict | None = None,
    ) -> None:
        """Attach an adapter to a transformer that may stand outside any pipeline, as in training."""
        transformer.load_lora_adapter(
            state_dict,
            network_alphas=None,
            adapter_name=adapter_name,
            metadata=metadata,
            _pipeline=_pipeline,
            low_cpu_mem_usage=low_cpu_mem_usage,
            hotswap=hotswap,
        )

    @classmethod
    def save_lora_weights(
        cls,
        save_directory: str | os.PathLike,
        transformer_lora_layers: dict[str, nn.Module | Tensor] | None = None,
        is_main_process: bool = True,
        weight_name: str | None = None,
        save_function: Callable | None = None,
        safe_serialization: bool = True,
        transformer_lora_adapter_metadata: dict | None = None,
    ) -> None:
        """Write `pytorch_lora_weights.safetensors` from the transformer's adapter tensors."""
        if not transformer_lora_layers:
            raise ValueError("nothing to save: pass the adapter's tensors as `transformer_lora_layers`")
        cls._save_lora_weights(
            save_directory=save_directory,
            lora_layers={cls.transformer_name: transformer_lora_layers},
            lora_metadata={cls.transformer_name: transformer_lora_adapter_metadata},
            is_main_process=is_main_process,
            weight_name=weight_name,
            save_function=save_function,
            safe_serialization=safe_serialization,
        )

    def fuse_lora(
        self,
        components: list[str] | None = None,
        lora_scale: float = 1.0,
        safe_fusing: bool = False,
        adapter_names: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the adapters, times `lora_scale`, into the transformer's own weights."""
        super().fuse_lora(
            components=components or [self.transformer_name],
            lora_scale=lora_scale,
            safe_fusing=safe_fusing,
            adapter_names=adapter_names,
            **kwargs,
        )

    def unfuse_lora(self, components: list[str] | None = None, **kwargs: Any) -> None:
        """Take fused adapters out of the transformer's weights again."""
        super().unfuse_lora(components=components or [self.transformer_name], **kwargs)
