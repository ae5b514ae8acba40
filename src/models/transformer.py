"""Parts of vision transformers: attention whose weights can be read, and tokens back on a grid.

Arrays: images ``(B, 1, H, W)``; maps ``(B, F, h, w)``; tokens ``(B, N, F)``, one for each place of
the ``h x w`` grid in row order, after a class token where a network has one; attention
``(B, N, N)``, from which token (columns) how much goes into which (rows), rows summing to 1.

Names of parameters are torchvision's, so its weight files fit.

Sources: Dosovitskiy et al. (2021), arXiv:2010.11929. Positions of sines, as a plain ViT has them:
Beyer et al. (2022), arXiv:2205.01580.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional


class Patches(nn.Module):
    """Cut images into patches side by side: one convolution that strides over its own edge.

    Args:
        width: F.
        edge: Of a patch, in pixels. Images that it does not divide repeat their last row and
            column, so that no pixel is lost.
    """

    def __init__(self, width: int, edge: int) -> None:
        super().__init__()
        self.edge = edge
        self.conv_proj = nn.Conv2d(1, width, edge, stride=edge)
        nn.init.trunc_normal_(self.conv_proj.weight, std=1 / edge)
        nn.init.zeros_(self.conv_proj.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return a map ``(B, F, H / edge, W / edge)``, rounded up."""
        below, right = (-int(size) % self.edge for size in x.shape[2:])
        if below or right:
            x = functional.pad(x, (0, right, 0, below), mode="replicate")
        patches: Tensor = self.conv_proj(x)
        return patches


class Attention(nn.Module):
    """Self-attention of several heads; `attention` tells what `forward` mixes.

    Args:
        width: F, a multiple of `heads`.
        heads: Heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def _split(self, tokens: Tensor) -> Tensor:
        """Return queries, keys and values, ``(3, B, heads, N, F / heads)``."""
        mixed = functional.linear(tokens, self.in_proj_weight, self.in_proj_bias)
        count = tokens.shape[1]
        return mixed.reshape(-1, count, 3, self.heads, self.width // self.heads).permute(
            2, 0, 3, 1, 4
        )

    def attention(self, tokens: Tensor) -> Tensor:
        """Return the attention ``(B, N, N)``, mean over heads."""
        queries, keys, _ = self._split(tokens)
        scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[-1])
        mixing: Tensor = scores.softmax(dim=-1).mean(dim=1)
        return mixing

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens ``(B, N, F)``, each a mixture of all."""
        queries, keys, values = self._split(tokens)
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Attention, then two linear layers, each beside a shortcut and after a layer norm."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            OrderedDict(
                [("0", nn.Linear(width, hidden)), ("1", nn.GELU()), ("3", nn.Linear(hidden, width))]
            )
        )
        for layer in (self.mlp[0], self.mlp[2]):
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens ``(B, N, F)``."""
        tokens = tokens + self.self_attention(self.ln_1(tokens))
        mixed: Tensor = tokens + self.mlp(self.ln_2(tokens))
        return mixed


class Encoder(nn.Module):
    """Blocks over the places of a map, which come back as a map without the class token.

    Args:
        width: F.
        depth: Blocks.
        heads: Heads of each.
        hidden: Units between the two linear layers.
        grid: Edge of the grid that positions are learnt on, which are then interpolated to the
            grid of an image; a class token is learnt beside them. 0 takes sines of the place in
            the image, which any grid has, and no class token.
    """

    def __init__(self, width: int, depth: int, heads: int, hidden: int, grid: int = 0) -> None:
        super().__init__()
        self.grid = grid
        if grid:
            self.class_token = nn.Parameter(torch.zeros(1, 1, width))
            self.pos_embedding = nn.Parameter(torch.empty(1, 1 + grid**2, width).normal_(std=0.02))
        blocks = [(f"encoder_layer_{i}", Block(width, heads, hidden)) for i in range(depth)]
        self.layers = nn.Sequential(OrderedDict(blocks))
        self.ln = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map ``(B, F, h, w)`` of a map ``(B, F, h, w)``."""
        shape = int(x.shape[2]), int(x.shape[3])
        tokens = x.flatten(2).transpose(1, 2)
        if self.grid:
            first = (self.class_token + self.pos_embedding[:, :1]).expand(x.shape[0], -1, -1)
            tokens = torch.cat([first, tokens + self._learnt_positions(shape)], dim=1)
        else:
            tokens = tokens + sines(shape, x.shape[1]).to(x)
        tokens = self.ln(self.layers(tokens))[:, 1 if self.grid else 0 :]
        out: Tensor = tokens.transpose(1, 2).reshape(-1, x.shape[1], *shape)
        return out

    def _learnt_positions(self, shape: tuple[int, int]) -> Tensor:
        places = self.pos_embedding[:, 1:]
        if shape == (self.grid, self.grid):
            return places
        on_grid = places.transpose(1, 2).reshape(1, -1, self.grid, self.grid)
        fitted = functional.interpolate(on_grid, shape, mode="bicubic", align_corners=False)
        return fitted.flatten(2).transpose(1, 2)


def sines(shape: tuple[int, int], width: int) -> Tensor:
    """Return where each place lies in its image, ``(h * w, width)``, values in [-1, 1].

    Places are shares of the image's edges: a finer grid of one head has the same positions between.

    Args:
        shape: h, w.
        width: F, a multiple of four.
    """
    rows, columns = ((torch.arange(n) + 0.5) / n for n in shape)
    # From one wave along the image to a hundred: neighbours of a fine grid differ, halves as well.
    waves = 2 * math.pi * 100 ** torch.linspace(0, 1, width // 4)
    place = torch.cartesian_prod(rows, columns)[:, :, None] * waves  # (h * w, 2, width / 4)
    return torch.cat([place.sin(), place.cos()], dim=2).flatten(1)
