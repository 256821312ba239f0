"""From the titles a sequence model learnt to the whole catalogue: new titles get vectors from content, and their share.

What is learnt about titles that nobody watched is that nobody watched them, which says nothing about a new one. So they are
no part of the fit; afterwards content alone gives them vectors, and one offset, taken from all their scores, how likely a
start is to be of a new title at all.
"""

from typing import Final

import numpy as np
import torch
from scipy import optimize, special
from torch import Tensor

from recray.candidates.sequence_judge import Judge
from recray.candidates.sequence_model import Encoder, outputs
from recray.features.items import Items
from recray.schema import Bools, Floats, Longs, Tensors
from recray.settings import SequenceSettings

_FARTHEST: Final = 60.0
"""Offsets are looked for up to here: cosines over the temperature lie between -20 and 20."""


def widened(encoder: Encoder, watched: Longs, items: Items, config: SequenceSettings) -> tuple[Encoder, Bools]:
    """An encoder over every title of the catalogue, and which of them it knows nothing of [n_items] bool.

    `encoder` was fitted to the titles `watched` [n] int64. The others have vectors of their content; what has no content
    either is unknown.
    """
    vectors = np.zeros((items.n + 1, config.dim), np.float32)
    unknown = np.ones(items.n, np.bool_)
    with torch.no_grad():
        if encoder.about is not None:
            vectors[:-1] = items.content @ encoder.about.weight.cpu().numpy().T
            unknown = np.asarray(~items.content.any(axis=1))
        vectors[watched] = encoder.table()[:-1].cpu().numpy()
        unknown[watched] = False
    weights = {name: weight.cpu() for name, weight in encoder.state_dict().items() if not name.startswith("about.")}
    wide = Encoder(items.n, config, torch.Generator())
    wide.load_state_dict(weights | {"titles.weight": torch.from_numpy(vectors)})
    return wide.eval(), unknown


def resumed(encoder: Encoder, tensors: Tensors, watched: Longs, content: Tensor) -> None:
    """Begin where a former fit ended: `tensors` are a served model's, `watched` [n] int64 the titles of `encoder`.

    What content adds to a title's vector comes out of it again, so that both go on being learnt apart.
    """
    weights = {name: torch.from_numpy(array) for name, array in tensors.items() if name != "offset"}
    own = weights["titles.weight"][np.append(watched, -1)]
    own[:-1] -= content.cpu() @ weights["about.weight"].T
    encoder.load_state_dict(weights | {"titles.weight": own})


def new_title_offset(encoder: Encoder, judge: Judge, new: Bools, least: float) -> float:
    """What is added to the scores of `new` titles [n_items] so that they get their share of starts; -inf without any.

    Their share is that of the positions that `judge` asks for, half a start more, or `least` where that is more: a log cannot
    tell how often titles would have been started that it never showed. The share a model gives them is the mean of its
    softmax.
    """
    if not new.any() or not judge.asked.length.size:
        return -np.inf
    last = judge.asked.item[judge.asked.start + judge.asked.length - 1]
    wanted = max((np.count_nonzero(new[last]) + 0.5) / (last.size + 1), least)
    odds = _odds(encoder, judge, new)
    return float(optimize.brentq(lambda offset: special.expit(odds + offset).mean() - wanted, -_FARTHEST, _FARTHEST))


def _odds(encoder: Encoder, judge: Judge, new: Bools) -> Floats:
    """Logarithm of the odds of new titles against the others after each prefix [n] float32."""
    with torch.no_grad():
        table = encoder.table()
        compared = outputs(table)
        groups = [compared[torch.from_numpy(np.flatnonzero(rows))] for rows in (new, ~new)]
        sums = [
            [torch.logsumexp(vectors @ group.T, dim=1) for group in groups]
            for vectors, _, _ in judge.asked_of(encoder, table, len(compared))
        ]
    return torch.cat([ours - others for ours, others in sums]).numpy()
