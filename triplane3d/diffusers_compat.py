"""Private functions and attributes of diffusers that this library uses, each with its reason. Checked with 0.42.1.

Not here: class attributes such as `_no_split_modules` and overridden methods such as `_upload_folder`. diffusers reads
them on the class, so they stay there.

diffusers has no plug-in interface for pipelines from other packages. This module adds one, reads the private attributes
that the pipelines need, and silences two import warnings.

diffusers is imported inside the functions: `import triplane3d` imports neither torch nor diffusers, so that the command
line prints its help at once.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

PipelineFinder = Callable[[Any, Mapping[str, Any]], "type | None"]
"""`(source, options) → class`: the pipeline class of this library that a folder or Hub name holds, or None.

`source` and `options` are the arguments of `DiffusionPipeline.from_pretrained`.
"""

# ---- Registration with diffusers' loader


def register(library: str, find_class: PipelineFinder) -> None:
    """Make diffusers' loaders accept the components and pipelines of `library`. Idempotent.

    1. `LOADABLE_CLASSES` gets an entry for `library`. Without it `DiffusionPipeline` and `AutoModel` refuse to import
       the classes that a `model_index.json` names as `["triplane3d", "TriplaneTransformer"]`.
    2. `DiffusionPipeline.from_pretrained` and `.download` are replaced by functions that call the method of the same
       name of the class that `find_class` returns. For all other pipelines they do what they did before.

    Why the second: diffusers' generic loader never calls a method of the class that the folder names before it has
    loaded all components. The checks in `PipelineHubMixin.from_pretrained` would be skipped. The config of an image
    encoder, a class of transformers, could then name an attention program on the Hub, which transformers downloads and
    runs, or a billion layers. With the replacement both loaders run the same code.

    Both steps run after diffusers' module is imported, at once if that has happened already.
    """
    _run_after_import(
        "diffusers.pipelines.pipeline_loading_utils", functools.partial(_add_loadable_classes, library=library)
    )
    _run_after_import("diffusers.pipelines.pipeline_utils", functools.partial(_delegate_loading, find_class=find_class))
    # torchao logs at each import that its compiled kernels do not fit a newer torch. Nothing here uses them. diffusers
    # imports torchao if it is installed.
    logging.getLogger("torchao").addFilter(_is_not_about_extensions)
    # diffusers imports xformers if it is installed. Without CUDA xformers warns that its kernels cannot be called.
    logging.getLogger("xformers").addFilter(_has_cuda)


def _add_loadable_classes(pipeline_loading_utils: ModuleType, library: str) -> None:
    methods = ["save_pretrained", "from_pretrained"]
    pipeline_loading_utils.LOADABLE_CLASSES.setdefault(
        library, {base: list(methods) for base in ("ModelMixin", "SchedulerMixin")}
    )


def _delegate_loading(pipeline_utils: ModuleType, find_class: PipelineFinder) -> None:
    """Replace `DiffusionPipeline.from_pretrained` and `.download`; see `register`."""
    generic = pipeline_utils.DiffusionPipeline
    load, download = generic.from_pretrained.__func__, generic.download.__func__

    @functools.wraps(load)
    def delegating_from_pretrained(cls: type, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        found = find_class(pretrained_model_name_or_path, kwargs) if cls is generic else None
        if found is not None:
            return found.from_pretrained(pretrained_model_name_or_path, **kwargs)  # type: ignore[attr-defined]
        return load(cls, pretrained_model_name_or_path, **kwargs)

    @functools.wraps(download)
    def delegating_download(cls: type, pretrained_model_name: Any, **kwargs: Any) -> Any:
        found = find_class(pretrained_model_name, kwargs) if cls is generic else None
        if found is not None:
            return found.download(pretrained_model_name, **kwargs)  # type: ignore[attr-defined]
        return download(cls, pretrained_model_name, **kwargs)

    generic.from_pretrained = classmethod(delegating_from_pretrained)
    generic.download = classmethod(delegating_download)


_registered: set[str] = set()
"""Modules for which `_run_after_import` was called."""


def _run_after_import(module: str, action: Callable[[ModuleType], None]) -> None:
    """Call `action(module)` once: now if the module is imported, or else directly after its import."""
    if module in _registered:
        return
    _registered.add(module)
    if module in sys.modules:
        action(sys.modules[module])
    else:
        sys.meta_path.insert(0, _AfterImport(module, action))


class _AfterImport(MetaPathFinder):
    """Finds one module as the other finders do, and calls a function after the module is executed.

    Python has no other way to run code after an import that happens later. The alternative is to import diffusers, and
    with it torch, in `import triplane3d`.
    """

    def __init__(self, module: str, action: Callable[[ModuleType], None]):
        self.module, self.action = module, action

    def find_spec(
        self, fullname: str, path: Iterable[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.module:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(fullname, path, target) for finder in others)  # type: ignore[arg-type]
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_act(module: ModuleType) -> None:
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                    self.action(module)

            spec.loader.exec_module = execute_and_act  # type: ignore[method-assign]
        return spec


def _is_not_about_extensions(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Skipping import of cpp extensions")


def _has_cuda(record: logging.LogRecord) -> bool:
    import torch

    return torch.cuda.is_available()


# ---- Private attributes of models and guiders


def has_hooks(model: nn.Module) -> bool:
    """Whether a module of the model has a hook of accelerate or diffusers.

    accelerate (offloading of whole models or layers) stores its hook as `_hf_hook`. diffusers (group offloading,
    layerwise casting, caches) stores a registry as `_diffusers_hook`. Neither has a public query.
    """
    return any(
        hasattr(module, "_hf_hook") or getattr(getattr(module, "_diffusers_hook", None), "hooks", None)
        for module in model.modules()
    )


def attention_backends(model: nn.Module) -> set[str]:
    """Names of the attention backends that the model's attention processors use, such as "native".

    `set_attention_backend` stores the name on each processor as `_attention_backend`. A processor without one uses the
    registry's active backend. diffusers has setters for both and no getters.
    """
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    active, _ = _AttentionBackendRegistry.get_active_backend()
    processors = (getattr(module, "processor", None) for module in model.modules())
    chosen = {getattr(processor, "_attention_backend", None) for processor in processors if processor is not None}
    names = {active if name is None else name for name in chosen}
    return {getattr(name, "value", name) for name in names}  # members of an enumeration, or text


def guider_condition(guider: Any, batch: Any) -> str:
    """Which prediction a batch of `guider.prepare_inputs` is for, such as "pred_cond".

    diffusers' modular pipelines pass it to `transformer.cache_context`. The batch stores it under a key that is a
    private attribute of the guider.
    """
    return getattr(batch, guider._identifier_key)


def register_transformer_block(block: type[nn.Module]) -> None:
    """Register what the forward method of `block` returns, for diffusers' block caches (such as FirstBlockCache).

    They look it up in a private table, and raise an error for a block that is not there. If a release of diffusers has
    no such table, only these caches are unavailable.
    """
    try:
        from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
    except ImportError:
        return
    metadata = TransformerBlockMetadata(return_hidden_states_index=0, return_encoder_hidden_states_index=None)
    TransformerBlockRegistry.register(block, metadata)


def cache_config(model: Any) -> Any:
    """The config of the cache that is enabled on `model`, or None. `CacheMixin` stores it in a private attribute."""
    return model._cache_config


def process_mesh(context_parallel_config: Any) -> Any:
    """The one-dimensional mesh of all processes that share the tokens, of an initialised `ContextParallelConfig`.

    `enable_parallelism` stores it in a private attribute.
    """
    return context_parallel_config._flattened_mesh


def context_parallel_classes() -> tuple[Any, Any]:
    """`ContextParallelInput` and `ContextParallelOutput`, which describe where a model's tokens are split and gathered.

    diffusers exports the configs of parallelism, but these two classes only from a private module.
    """
    from diffusers.models._modeling_parallel import ContextParallelInput, ContextParallelOutput

    return ContextParallelInput, ContextParallelOutput
