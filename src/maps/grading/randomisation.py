"""Whether maps depend on what the model learnt: its weights are made random, from the head down.

Arrays: images ``(P, 1, ...)``, maps and brains ``(P, ...)``, P people.

Source: Adebayo et al. (2018), arXiv:1810.03292: cascading randomisation. That maps without any
meaning pass this check easily was shown by Binder et al. (2023), arXiv:2211.12486: it can refuse a
method, not recommend it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...runtime import progress
from ..attribution import Target, computing
from .explainer import (
    EXPENSIVE,
    Explainer,
    Maps,
    device_of,
    maps_of,
    parts_of,
    settle_target,
    with_model,
)
from .similarity import (
    Mask,
    Values,
    between_people,
    brain_masks,
    mean_of,
    rank_correlation,
    structural_similarity,
)

#: Random networks that the last stage is the mean of: one may be like the model by chance.
DRAWS = 5
#: Of methods that need many passes.
FEW_DRAWS = 2
_NEXT_DRAW = 1000  # more than a network has blocks, so that no two draws share a seed


def cascade(
    explainer: Explainer, x: Tensor, target: Target = None, *, seed: int = 0
) -> dict[str, Any]:
    """Compare the maps of the model with those of copies whose weights are random from the head on.

    Stage by stage one more block is random, until nothing is left of what was learnt; what is still
    alike then comes from the image and the architecture. Beside it stands how alike the maps of
    different people are: the baseline of Arun et al. (2021, doi:10.1148/ryai.2021200267). Where
    brains are aligned it is high for any good map, so it is no more than a second look.

    Methods that need many passes are compared without the head and at the end only.

    Args:
        explainer: Its model is copied, never changed.
        x: One image or volume of each person.
        target: As `Attribution.raw_maps`; predicted classes are settled before the weights change.
        seed: Same seed, same random weights.

    Returns:
        ``stages``, in order: ``layer`` (the block made random last), ``similarity`` (Spearman) and
        ``ssim`` of each person, None where the model's own map is flat; ``between_people``, the
        baseline of each person; ``draws`` of the last stage.
    """
    settled = settle_target(explainer.model, x, target)
    brains = brain_masks(x[:, 0].cpu().numpy())
    trained, cell = maps_of(explainer, x, settled), explainer.resolution(x.shape[2:])
    blocks, costly = random_blocks(explainer.model), explainer.method in EXPENSIVE
    draws = FEW_DRAWS if costly else DRAWS
    found: dict[str, list[Maps]] = {}
    models = _random_models(explainer.model, blocks, x, seed)
    for block, model in progress(models, total=len(blocks), desc="random weights"):
        if not costly or block in (blocks[0], blocks[-1]):
            found[block] = [maps_of(with_model(explainer, model), x, settled)]
    for draw in range(1, draws):
        *_, (block, model) = _random_models(explainer.model, blocks, x, seed + draw * _NEXT_DRAW)
        found[block].append(maps_of(with_model(explainer, model), x, settled))
    return {
        "available": True,
        "stages": [
            {"layer": block, **_compare(trained, maps, brains, cell)}
            for block, maps in found.items()
        ],
        "between_people": between_people(trained, brains),
        "draws": draws,
    }


def random_blocks(model: nn.Module) -> list[str]:
    """Return the dotted names of the blocks that become random in turn, the head first.

    These are the parts of the model with weights, and for its ``features`` the parts of those.
    """
    names = []
    for name, child in model.named_children():
        parts = child.named_children() if name == "features" else ()
        inner = [f"{name}.{part}" for part, module in parts if _has_weights(module)]
        names += inner or ([name] if _has_weights(child) else [])
    return names[::-1]


def randomise(module: nn.Module) -> None:
    """Give every part of a module fresh weights and statistics, as before training.

    A part that does not know how has its own values shuffled.
    """
    for part in module.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
            continue
        with torch.no_grad():
            for own in part.parameters(recurse=False):
                own.copy_(own.flatten()[torch.randperm(own.numel())].reshape(own.shape))


def measure_statistics(model: nn.Module, blocks: Sequence[str], x: Tensor) -> None:
    """Set the running statistics of batch norms in these blocks to what they are on `x`.

    At their first values (mean 0, variance 1) the activations of a deep random network vanish, and
    its maps with them. In training that is never so.
    """
    parts = [part for name in blocks for part in model.get_submodule(name).modules()]
    norms = [
        part
        for part in parts
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.track_running_stats
    ]
    momenta = [norm.momentum for norm in norms]
    with computing(model, x[:0]):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches, not mostly the last
            norm.train()
        for images in parts_of(model, x, least=2) if norms else ():
            model(images.to(device_of(model)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _random_models(
    model: nn.Module, blocks: list[str], x: Tensor, seed: int
) -> Iterator[tuple[str, nn.Module]]:
    """Yield each block and one copy of the model, which is random from the head to that block."""
    changed, device = copy.deepcopy(model), device_of(model)
    for number, block in enumerate(blocks):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + number)
            randomise(changed.get_submodule(block).cpu())  # the same draw on every device
        measure_statistics(changed.to(device), blocks[: number + 1], x)
        yield block, changed


def _compare(
    trained: Maps, found: list[Maps], brains: Mask, cell: tuple[float, ...]
) -> dict[str, Values]:
    """Return how alike each person's maps are to the trained one, mean over the draws."""
    similarity: Values = []
    ssim: Values = []
    for own, brain, *others in zip(trained, brains, *found, strict=True):
        similarity.append(mean_of([rank_correlation(own, other, brain) for other in others]))
        ssim.append(mean_of([structural_similarity(own, other, brain, cell) for other in others]))
    return {"similarity": similarity, "ssim": ssim}


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())
