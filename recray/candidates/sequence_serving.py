"""The sequence model's encoder as it is served: one history at a time, weights folded, only what the last position needs."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from recray.candidates.sequence_model import Block, Encoder


@dataclass(frozen=True, slots=True)
class _Folded:
    """One block's weights [in, out] with biases; what its norms scale and shift is part of the layer that follows them."""

    heads: int
    query_key_value: tuple[Tensor, Tensor]
    joined: tuple[Tensor, Tensor]
    wider: tuple[Tensor, Tensor]
    narrower: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, block: Block) -> Self:
        weight = torch.cat((block.query.weight, block.key_value.weight))
        bias = torch.cat((block.query.bias, block.key_value.bias))
        return cls(
            block.heads,
            _after(block.before_attention, weight, bias),
            (block.joined.weight.t().contiguous(), block.joined.bias),
            _after(block.before_dense, block.wider.weight, block.wider.bias),
            (block.narrower.weight.t().contiguous(), block.narrower.bias),
        )

    def __call__(self, x: Tensor, *, last: bool) -> Tensor:
        """Map [L, dim] to the same, or with `last` to [1, dim]: nothing reads the other positions of the last block."""
        dim = x.shape[1]
        normed = functional.layer_norm(x, (dim,))
        weight, bias = self.query_key_value
        if last:
            query = torch.addmm(bias[:dim], normed[-1:], weight[:, :dim])
            key, value = torch.addmm(bias[dim:], normed, weight[:, dim:]).chunk(2, dim=1)
            x = x[-1:]
        else:
            query, key, value = torch.addmm(bias, normed, weight).chunk(3, dim=1)
        query, key, value = (part.view(len(part), self.heads, -1).transpose(0, 1)[None] for part in (query, key, value))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=not last)
        mixed = mixed[0].transpose(0, 1).reshape(len(x), dim)
        x = x + torch.addmm(self.joined[1], mixed, self.joined[0])
        wide = functional.gelu(torch.addmm(self.wider[1], functional.layer_norm(x, (dim,)), self.wider[0]))
        return x + torch.addmm(self.narrower[1], wide, self.narrower[0])


def _after(norm: torch.nn.LayerNorm, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    return (weight * norm.weight).t().contiguous(), weight @ norm.bias + bias


class LastVector:
    """Vector [dim] after the last title of one history [L] int64, oldest first, L from 1 to the fitted length.

    The last position of `Encoder.forward`, but for rounding, at a fraction of its cost: no modules, no batch, no masks.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._titles = encoder.titles.weight * encoder.titles.embedding_dim**0.5
        self._positions = encoder.positions.weight
        self._blocks = [_Folded.of(block) for block in encoder.blocks if isinstance(block, Block)]
        self._norm = encoder.norm

    def __call__(self, titles: Tensor) -> Tensor:
        x = self._titles[titles] + self._positions[: len(titles)]
        for number, block in enumerate(self._blocks, start=1):
            x = block(x, last=number == len(self._blocks))
        norm = self._norm
        return functional.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)[-1]
