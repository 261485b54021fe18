"""A decoder-only transformer (Radford et al. 2019) with rotary positions; imports PyTorch, so import it where a network is built.

Rotary positions because learned ones are what small models lack the data for: with them the loss levels off well above that
of the text. Weights begin with a deviation of one over the root of what they sum over, so that a learning rate inverse to the
width suits all widths (Yang et al. 2021).
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

EXPANSION = 4
"""Units of the perceptron's hidden layer, in widths."""
LONGEST_WAVE = 10_000.0
"""Base of the rotary wave lengths (Su et al. 2021)."""


class Transformer(nn.Module):
    """Scores for the next token at every position: int64 (batch, positions) -> float32 (batch, positions, symbols).

    Parameters
    ----------
    symbols
        Number of tokens there are.
    width
        Numbers per position, a multiple of `head_size`.
    depth
        Blocks of attention and perceptron.
    context
        Most positions.
    head_size
        Numbers per head of attention, even.
    is_tied
        Whether one table serves as embedding and unembedding.
    """

    def __init__(self, symbols: int, width: int, depth: int, context: int, head_size: int, is_tied: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.blocks = nn.ModuleList(Block(width, head_size, depth) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)
        self.unembedding = self.embedding if is_tied else nn.Embedding(symbols, width)
        nn.init.normal_(self.unembedding.weight, std=width**-0.5)
        if not is_tied:
            nn.init.normal_(self.embedding.weight)
        waves = LONGEST_WAVE ** (-torch.arange(head_size // 2) / (head_size // 2))
        angles = torch.arange(context)[:, None] * waves
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    cosines: torch.Tensor
    sines: torch.Tensor

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """See the class."""
        positions = tokens.shape[1]
        cosines, sines = self.cosines[:positions], self.sines[:positions]
        hidden = self.embedding(tokens)
        for block in self.blocks:
            hidden = block(hidden, cosines, sines)
        return functional.linear(self.norm(hidden), self.unembedding.weight)


class Block(nn.Module):
    """Attention, then a perceptron, each on normalised inputs and added to what came in (Xiong et al. 2020)."""

    def __init__(self, width: int, head_size: int, depth: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.attention = Attention(width, head_size)
        self.perceptron_norm = nn.LayerNorm(width, bias=False)
        self.expand = nn.Linear(width, EXPANSION * width, bias=False)
        self.contract = nn.Linear(EXPANSION * width, width, bias=False)
        for layer, inputs, share in (
            (self.attention.project, width, 1.0),
            (self.attention.out, width, 1 / (2 * depth)),  # so many of these are added up
            (self.expand, width, 1.0),
            (self.contract, EXPANSION * width, 1 / (2 * depth)),
        ):
            nn.init.normal_(layer.weight, std=math.sqrt(share / inputs))

    def forward(self, hidden: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
        """See the class."""
        hidden = hidden + self.attention(self.attention_norm(hidden), cosines, sines)
        raised = functional.gelu(self.expand(self.perceptron_norm(hidden)), approximate="tanh")
        summed: torch.Tensor = hidden + self.contract(raised)
        return summed


class Attention(nn.Module):
    """Causal attention by heads of a fixed size, with rotary positions."""

    def __init__(self, width: int, head_size: int) -> None:
        super().__init__()
        self.head_size = head_size
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, hidden: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
        """See the class."""
        batch, positions, width = hidden.shape
        projected = self.project(hidden).view(batch, positions, 3, -1, self.head_size).permute(2, 0, 3, 1, 4)
        first, second = projected[:2].chunk(2, dim=-1)
        queries, keys = torch.cat([first * cosines - second * sines, first * sines + second * cosines], dim=-1)
        mixed = functional.scaled_dot_product_attention(queries, keys, projected[2], is_causal=True)
        joined: torch.Tensor = self.out(mixed.transpose(1, 2).reshape(batch, positions, width))
        return joined
