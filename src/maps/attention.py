"""Where a transformer's answer comes from, by attention alone: rollout of a pass over the images.

It follows how tokens are mixed and knows no class: maps of two targets are the same.

Arrays: images ``(B, 1, H, W)``; maps ``(B, h, w)`` on the grid of the tokens, shares of 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..models.transformer import Attention, Encoder
from .methods import rollout

ROLLOUT = "rollout"


def require_attention(model: nn.Module) -> None:
    """Refuse a network whose attention cannot be read.

    Raises:
        ConfigError: It has none, or that of another library.
    """
    if not any(isinstance(module, Encoder) for module in model.modules()):
        name = getattr(model, "backbone", type(model).__name__)
        raise ConfigError(
            f"{ROLLOUT} follows attention, and {name} has none that can be read",
            hint="--method hirescam; or a network trained with --backbone vit_conv or vit_b_16",
        )


def rollout_maps(model: nn.Module, x: Tensor) -> Tensor:
    """Return which share of the averaged tokens comes from each place; a class token's is left out.

    To be called within `computing`.

    Args:
        model: A network with one `Encoder`.
        x: Images.
    """
    (encoder,) = (module for module in model.modules() if isinstance(module, Encoder))
    attentions: list[Tensor] = []
    grids: list[torch.Size] = []

    def mixed(module: nn.Module, inputs: Any, output: Any) -> None:
        assert isinstance(module, Attention)
        attentions.append(module.attention(inputs[0]).float())

    def on_grid(module: nn.Module, inputs: Any, output: Any) -> None:
        grids.append(output.shape[2:])

    handles = [encoder.register_forward_hook(on_grid)]
    handles += [
        module.register_forward_hook(mixed)
        for module in encoder.modules()
        if isinstance(module, Attention)
    ]
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    places = slice(1 if encoder.grid else 0, None)
    shares = rollout(attentions)[:, places, places].mean(dim=1)
    return shares.reshape(-1, *grids[0])
