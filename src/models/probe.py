"""What one pass over noise shows of a network: its logits, its last layer, its last map.

Arrays: images ``(2, C, H, W)`` or volumes ``(2, C, X, Y, Z)``, C channels; features ``(2, F)``;
logits ``(2, K)``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError, foreign_bytes

#: Of a network: the classifier that it was wrapped in, so that it is wrapped once.
KNOWN = "_classifier"


@dataclass(frozen=True)
class Seen:
    """What one pass showed of a network.

    Attributes:
        images: ``(2, C, ...)`` noise that it was shown.
        output: Logits ``(2, K)``.
        head: Name of the linear layer whose output these are; None where it ends otherwise.
        width: Features that go into the head.
        layer: Name of the last layer whose output is a map; None of no such layer.
    """

    images: Tensor
    output: Tensor
    head: str | None
    width: int
    layer: str | None

    @property
    def logits(self) -> int:
        """K."""
        return int(self.output.shape[1])


def try_network(network: nn.Module, shape: tuple[int, ...]) -> Seen:
    """Run a network over noise, and see what its layers give; it is left as it was."""
    first = next(network.parameters())
    noise = torch.rand((2, *shape), generator=torch.Generator().manual_seed(0))
    images = noise.to(first.device, first.dtype)
    found: list[tuple[str, Tensor, Tensor | None]] = []  # in the order in which layers end

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor):
                given = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
                found.append((name, output, given if isinstance(module, nn.Linear) else None))

        return hook

    layers = [(name, module) for name, module in network.named_modules() if name]
    handles = [module.register_forward_hook(note(name)) for name, module in layers]
    name = type(network).__name__
    hint = "wrap(network, size=...) names the edges that it takes, channels=... its channels"
    try:
        with (
            foreign_bytes(ConfigError, f"{name} cannot take images of {by(shape)}", hint),
            evaluating(network),
            torch.no_grad(),
        ):
            output = network(images)
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != 2:
        what = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise ConfigError(
            f"{name} gives {what} of 2 images, not logits (2, K)",
            hint="give a network that ends in one score a class",
        )
    names = [one for one, _, _ in found]
    maps = [
        one
        for one, value, _ in found
        if value.ndim == images.ndim and value[0, 0].numel() > 1 and names.count(one) == 1
    ]
    last = [(one, given) for one, value, given in found if value is output and given is not None]
    head, given = last[-1] if last else (None, None)
    plain = given is not None and given.ndim == 2
    width = int(given.shape[1]) if plain and given is not None else int(output.shape[1])
    return Seen(images, output, head if plain else None, width, maps[-1] if maps else None)


class evaluating:  # noqa: N801 - a context, as torch.no_grad
    """Every layer of a network in evaluation mode; afterwards each is as it was."""

    def __init__(self, network: nn.Module) -> None:
        self.modes = [(module, module.training) for module in network.modules()]

    def __enter__(self) -> None:
        for module, _ in self.modes:
            module.training = False

    def __exit__(self, *error: object) -> None:
        for module, training in self.modes:
            module.training = training


def split(network: nn.Module, seen: Seen) -> tuple[nn.Module, nn.Module, int]:
    """Return a network without its last linear layer, that layer, and the features between them.

    What it returns shares every layer with the network, which stays whole. Where it does not end in
    a linear layer, its logits are the features.
    """
    if seen.head is not None:
        head = network.get_submodule(seen.head)
        body = _without(network, seen.head.split("."))
        with evaluating(network), torch.no_grad():
            features = body(seen.images)
            again = head(features) if isinstance(features, Tensor) else None
        if again is not None and torch.allclose(again, seen.output, rtol=1e-4, atol=1e-6):
            return body, head, seen.width
    return network, nn.Identity(), seen.logits


def _without(module: nn.Module, path: Sequence[str]) -> nn.Module:
    """Return a module that shares all of another's parts, but for the one at `path`: nothing."""
    name, *deeper = path
    changed = copy.copy(module)
    part = module._modules[name]
    assert part is not None
    changed.__dict__.pop(KNOWN, None)
    changed._modules = dict(module._modules)
    changed._modules[name] = _without(part, deeper) if deeper else nn.Identity()
    return changed


def by(shape: Sequence[int]) -> str:
    """Return a shape in words: ``3 x 224 x 224``."""
    return " x ".join(str(edge) for edge in shape)
