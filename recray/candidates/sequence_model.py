"""The causal transformer over watch histories: SASRec [Kang2018], with the time to what follows as an input where asked."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from recray.candidates.sequence_windows import N_GAPS, TEMPERATURE
from recray.settings import SequenceSettings

_BF16: Final = ("avx512_bf16", "amx_bf16", "bf16")
_SIGMA: Final = 0.02
"""Deviation of initial weights; larger ones make softmax gradients denormal, which is ten times slower on a CPU."""


def product_type(device: torch.device) -> torch.dtype:
    """What matrices are multiplied in while fitting: bfloat16 where the device has instructions for it, else float32."""
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = device.type == "cpu" and any(torch.cpu.get_capabilities().get(name, False) for name in _BF16)
    return torch.bfloat16 if able else torch.float32


def autocast(device: torch.device) -> torch.autocast:
    """The context in which matrices are multiplied in `product_type`; torch warns of float32, which needs none."""
    kind = product_type(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=kind is torch.bfloat16)


class Dropout(nn.Module):
    """Zeroes a share of values while training, in steps of 1/256. On a CPU by random bytes: torch's own takes twice as long."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._out_of_256 = round(256 * share)

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same."""
        if not self.training or not self._out_of_256:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self._out_of_256 / 256)
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self._out_of_256
        return x * (kept.to(x.dtype) * (256 / (256 - self._out_of_256)))


class Block(nn.Module):
    """Pre-norm attention, which a learnt bias per head tells how far back each title is, and feed-forward.

    Attention is plain products: in bfloat16 on a CPU they take a third of the time of torch's fused kernel.
    """

    def __init__(self, config: SequenceSettings) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.heads
        self.back = nn.Embedding(config.max_length, config.heads)
        self.before_attention = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.joined = nn.Linear(dim, dim)
        self.before_dense = nn.LayerNorm(dim)
        self.wider = nn.Linear(dim, 4 * dim)
        self.narrower = nn.Linear(4 * dim, dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, back: Tensor) -> Tensor:
        """Map [B, L, dim] to the same; `back` [L, L] int64 is how many positions a row is after a column, below 0 unseen."""
        n, length, dim = x.shape
        width = dim // self.heads
        normed = self.before_attention(x)
        key, value = self.key_value(normed).view(n, length, 2, self.heads, width).permute(2, 0, 3, 1, 4)
        query = self.query(normed).view(n, length, self.heads, width).transpose(1, 2) * width**-0.5
        bias = self.back(back.clamp(min=0)).masked_fill(back[:, :, None] < 0, -torch.inf).permute(2, 0, 1)
        share = torch.softmax(query @ key.transpose(-1, -2) + bias.to(query.dtype), dim=-1)
        x = x + self.dropout(self.joined((share @ value).transpose(1, 2).reshape(n, length, dim)))
        return x + self.dropout(self.narrower(functional.gelu(self.wider(self.before_dense(x)))))


class Encoder(nn.Module):
    """Titles in watch order to one vector per position; title vectors are inputs and outputs at once.

    A score is the cosine of both over a fixed temperature [Zhai2024].

    With `request_time` a position also knows how long after its title the next one follows, which at the last position is the
    moment of the request.

    With `content` [n_items, c] a title's vector is its own and what its content adds, as in [Volkovs2017] own vectors are left
    out now and then while training, so that content alone stands for a title that nobody watched.
    """

    def __init__(
        self, n_items: int, config: SequenceSettings, generator: torch.Generator, content: Tensor | None = None
    ) -> None:
        super().__init__()
        self.titles = nn.Embedding(n_items + 1, config.dim)  # the last row stands for padding
        self.about = None if content is None else nn.Linear(content.shape[1], config.dim, bias=False)
        self.register_buffer("content", content, persistent=False)
        self.positions = nn.Embedding(config.max_length, config.dim)
        self.gaps = nn.Embedding(N_GAPS, config.dim) if config.request_time else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.dropout = Dropout(config.dropout)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=_SIGMA, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)

    def forward(self, titles: Tensor, gaps: Tensor, table: Tensor) -> Tensor:
        """Vectors [B, L, dim] float32 of histories [B, L], oldest first, padded at the end, which never reaches what is before.

        `gaps` [B, L] are sizes of the time from each title to what follows (`gap_size`), unread without `request_time`;
        `table` is what `table` gave.
        """
        place = torch.arange(titles.shape[1], device=titles.device)
        back = place[:, None] - place
        x = self._embedded(titles, gaps, table)
        for block in self.blocks:
            x = block(x, back)
        return functional.normalize(x.float(), dim=-1) / TEMPERATURE

    def table(self, own: Tensor | None = None) -> Tensor:
        """Title vectors [n_items + 1, dim]; `own` [n_items + 1, 1] is 0 for titles whose own vector is left out."""
        vectors = self.titles.weight if own is None else self.titles.weight * own
        if self.about is None:
            return vectors
        return vectors + functional.pad(self.about(self.content), (0, 0, 0, 1))

    def _embedded(self, titles: Tensor, gaps: Tensor, table: Tensor) -> Tensor:
        scale = self.titles.embedding_dim**0.5
        place = torch.arange(titles.shape[1], device=titles.device)
        x = functional.embedding(titles, table) * scale + self.positions(place)
        return self.dropout(x if self.gaps is None else x + self.gaps(gaps))


def outputs(table: Tensor) -> Tensor:
    """Vectors [n_items, dim] of length 1 that scores are inner products with, of a table of titles."""
    return functional.normalize(table[:-1], dim=-1)
