"""Calls of one pipeline from several threads: each has its own state; calls that would interfere run one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from diffusers.guiders import BaseGuidance
from torch import Tensor, nn

from triplane3d.diffusers_compat import attention_backends, has_hooks

State = TypeVar("State")

_KERNEL_FLAGS = threading.RLock()
"""Locked by calls whose attention backend sets torch's kernel flags, which the whole process shares."""


@dataclass
class DenoisingState:
    """State of a running diffusion call. Callbacks may read and change it."""

    guidance_scale: float = 1.0
    attention_kwargs: dict[str, Any] | None = None
    num_timesteps: int = 0
    current_timestep: Tensor | None = None
    interrupt: bool = False


@dataclass
class ReconstructionState:
    """State of a single-pass call: its planes, (photos, 3, channels, rows, columns), which `render` reads."""

    planes: Tensor | None = None


class Calls(Generic[State]):
    """The calls that one pipeline runs, at most one per thread, and the state of each.

    Copying or pickling the owner gives the copy an empty `Calls`.
    """

    def __init__(self, make_state: Callable[[], State]):
        self._make_state = make_state
        self._of_thread = threading.local()
        self._running: list[State] = []
        self._running_lock = threading.Lock()
        self._one_at_a_time = threading.RLock()

    def __reduce__(self) -> tuple:
        return type(self), (self._make_state,)

    @property
    def current(self) -> State:
        """State of the call that this thread runs, or else of the last one that it ran."""
        if not hasattr(self._of_thread, "state"):
            self._of_thread.state = self._make_state()
        return self._of_thread.state

    @property
    def affected(self) -> list[State]:
        """The state of this thread's running call; in a thread without one, those of all running calls."""
        with self._running_lock:
            mine = [state for state in self._running if state is self.current]
            return mine or list(self._running)

    @contextmanager
    def run(self, components: Sequence[object]) -> Iterator[State]:
        """A call with its own state.

        It waits for calls that it would interfere with: those of the same pipeline if `components` change during a
        call, and those of any pipeline if the attention backend sets flags of torch.
        """
        models = [component for component in components if isinstance(component, nn.Module)]
        guided = any(isinstance(component, BaseGuidance) for component in components)
        with ExitStack() as locks:
            if guided or any(map(_changes_during_calls, models)):
                locks.enter_context(self._one_at_a_time)
            if any(map(_sets_kernel_flags, models)):
                locks.enter_context(_KERNEL_FLAGS)
            state, outer = self._make_state(), self.current
            with self._running_lock:
                nested = any(other is outer for other in self._running)
                self._running.append(state)
            self._of_thread.state = state
            try:
                yield state
            finally:
                with self._running_lock:
                    self._running = [other for other in self._running if other is not state]
                if nested:  # a callback called the pipeline again
                    self._of_thread.state = outer


def state_of_call(name: str) -> property:
    """The field `name` of the current call's state, as an attribute of a pipeline that has `_calls`."""
    return property(
        lambda pipeline: getattr(pipeline._calls.current, name),
        lambda pipeline, value: setattr(pipeline._calls.current, name, value),
    )


def state_of_affected_calls(name: str) -> property:
    """As `state_of_call`, but written to every running call by a thread that runs none."""

    def write(pipeline: Any, value: object) -> None:
        for state in pipeline._calls.affected:
            setattr(state, name, value)

    return property(state_of_call(name).fget, write)


class DenoisingStateMixin:
    """The state of the current call under the names that diffusers' pipelines have, for a pipeline with `_calls`.

    diffusers' callbacks write the underscored names. Each thread reads and writes the state of its own call.
    """

    _guidance_scale = state_of_call("guidance_scale")
    _attention_kwargs = state_of_call("attention_kwargs")
    _num_timesteps = state_of_call("num_timesteps")
    _current_timestep = state_of_call("current_timestep")
    _interrupt = state_of_affected_calls("interrupt")

    @property
    def guidance_scale(self) -> float:
        return self._guidance_scale

    @property
    def num_timesteps(self) -> int:
        return self._num_timesteps

    @property
    def current_timestep(self) -> Tensor | None:
        return self._current_timestep

    @property
    def attention_kwargs(self) -> dict[str, Any] | None:
        return self._attention_kwargs

    @property
    def interrupt(self) -> bool:
        """Set `pipe._interrupt = True` in a callback to skip the remaining steps of its call.

        Set in a thread that runs no call of this pipeline, it stops all calls that are running.
        """
        return self._interrupt


def _changes_during_calls(model: nn.Module) -> bool:
    """Whether a forward pass changes the model.

    Hooks do that: offloading moves weights, layerwise casting changes their type, caches keep activations. The scale of
    a LoRA adapter is a value on its layers.
    """
    return bool(getattr(model, "peft_config", None)) or has_hooks(model)


def _sets_kernel_flags(model: nn.Module) -> bool:
    """Whether attention runs in `torch.nn.attention.sdpa_kernel`, as in diffusers' backends `_native_…`."""
    return any(name.startswith("_native") for name in attention_backends(model))
