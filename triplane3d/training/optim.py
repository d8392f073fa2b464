"""Optimizer and learning rate: Muon for the weight matrices of linear layers, AdamW for all other parameters."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from triplane3d.config import OptimConfig


def learning_rate(step: int, steps: int, optim: OptimConfig) -> float:
    """Linear warm-up over `optim.warmup_steps`, then a cosine to `optim.final_lr` times the peak at the last step."""
    if step < optim.warmup_steps:
        return optim.lr * (step + 1) / optim.warmup_steps
    progress = (step - optim.warmup_steps) / max(1, steps - 1 - optim.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return optim.lr * (optim.final_lr + (1 - optim.final_lr) * cosine)


def make_optimizer(
    model: nn.Module, optim: OptimConfig, lr_shares: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """AdamW, or with `optim.muon` Muon for the weights of `nn.Linear` layers and AdamW for all other parameters.

    Both use the same learning rate: Muon's update is scaled to the root mean square of AdamW's (Liu et al. 2025, "Muon
    is scalable for LLM training", section 2.2). Parameters of one dimension have no weight decay.

    `lr_shares` names submodules whose learning rate is a share of the others'. A parameter group has its share as
    "lr_share".
    """
    lr_shares = lr_shares or {}
    linear = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Linear)} if optim.muon else set()
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            share = next((share for module, share in lr_shares.items() if name.startswith(f"{module}.")), 1.0)
            kind = (id(parameter) in linear, parameter.ndim >= 2, share)
            groups.setdefault(kind, []).append(parameter)

    def with_options(for_muon: bool) -> list[dict[str, Any]]:
        return [
            {
                "params": parameters,
                "weight_decay": optim.weight_decay if is_matrix else 0.0,
                "lr": share * optim.lr,
                "lr_share": share,
            }
            for (is_linear, is_matrix, share), parameters in sorted(groups.items(), key=lambda kind: not kind[0][1])
            if is_linear == for_muon
        ]

    adamw = torch.optim.AdamW(with_options(for_muon=False), lr=optim.lr, betas=optim.betas, fused=True)
    matrices = with_options(for_muon=True)
    if not matrices:
        return adamw
    muon = torch.optim.Muon(matrices, lr=optim.lr, adjust_lr_fn="match_rms_adamw")
    return CombinedOptimizer([muon, adamw])


class CombinedOptimizer(torch.optim.Optimizer):
    """Several optimizers that step together. Their parameter groups are listed in `param_groups`, for schedules."""

    def __init__(self, parts: Iterable[torch.optim.Optimizer]):
        self.parts = list(parts)
        super().__init__([p for part in self.parts for group in part.param_groups for p in group["params"]], {})
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]
