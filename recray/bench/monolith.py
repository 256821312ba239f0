"""The peer an engineer writes in an afternoon: FastAPI, redis-py, the trained network as a torch module, one request at a time.

Its candidates, features, slate and rows are recray's own functions called with a batch of one, so that what is compared is
how they are served. It does less than recray: it logs no slates, takes no feedback, follows no alias, and has no fallback.
"""

import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
import numpy as np
import redis
import redis.asyncio
import torch
from fastapi import FastAPI, Response
from torch import Tensor, nn

from recray import settings as settings_module
from recray.bundle import Bundle, from_bytes
from recray.candidates.generate import CandidateStage
from recray.features import fold
from recray.features.items import Items
from recray.features.profiles import Profiles, columns
from recray.features.user import genre_preference
from recray.features.vectorize import item_matrix, ranker_input
from recray.pages.page import homepage
from recray.pages.rows import View
from recray.ranking.calibration import own_mix, wanted_genres
from recray.ranking.deep_kernel import CLIP
from recray.ranking.prerank import only
from recray.ranking.slate import slate, weigh
from recray.recommend import N_HISTORY, n_shown
from recray.schema import Candidates, Floats, Longs, Page, ProfileKey, ProfileSettings, Requests, Tensors, word
from recray.serving.asking import Asked, one
from recray.settings import Settings
from recray.stores.registry import Registry

_CHUNK: Final = 1_000
_BASE: Final = "/api/v1/recommendations"


def _key(key: ProfileKey) -> str:
    return f"monolith:{key}"


def publish(url: str, profiles: Iterable[tuple[ProfileKey, bytes, ProfileSettings]]) -> None:
    """Write each profile's state and settings as one value, to be read with one GET."""
    with redis.Redis.from_url(url) as client:
        pipeline = client.pipeline(transaction=False)
        for number, (key, state, own) in enumerate(profiles, 1):
            pipeline.set(_key(key), msgspec.msgpack.encode((state, own)))
            if number % _CHUNK == 0:
                pipeline.execute()
        pipeline.execute()


_profile: Final = msgspec.msgpack.Decoder(tuple[bytes, ProfileSettings])


class DeepModule(nn.Module):
    """The fitted deep ranker as one would write it: pooled history, everything side by side, dense layers."""

    def __init__(self, tensors: Tensors, embedding: Floats, items: Items) -> None:
        super().__init__()
        for name in ("attention", "user_mean", "user_scale", "match_mean", "match_scale"):
            self.register_buffer(name, torch.from_numpy(tensors[name]))
        self.decay = float(tensors["decay"])
        self.embedding = nn.Embedding.from_pretrained(torch.from_numpy(embedding))  # type: ignore[no-untyped-call]
        features = torch.from_numpy((item_matrix(items) - tensors["item_mean"]) / tensors["item_scale"])
        self.register_buffer("item_features", features.clamp(-float(CLIP), float(CLIP)))
        first = np.concatenate([tensors[f"first_{part}"] for part in ("user", "item", "match")])
        n_later = sum(name.startswith("weight_") for name in tensors)
        later = [(tensors[f"weight_{n}"], tensors[f"bias_{n}"]) for n in range(n_later)]
        dense = [_linear(weight, bias) for weight, bias in [(first, tensors["first_bias"]), *later]]
        self.layers = nn.Sequential(*(part for layer in dense for part in (layer, nn.ReLU())))[:-1]

    def _standardized(self, values: Tensor, entity: str) -> Tensor:
        mean, scale = self.get_buffer(f"{entity}_mean"), self.get_buffer(f"{entity}_scale")
        return ((values - mean) / scale).clamp(-float(CLIP), float(CLIP))

    def _taste(self, history: Tensor) -> Tensor:
        place = torch.nonzero((history >= 0) & (history < self.embedding.num_embeddings))[:, 0]
        seen = self.embedding(history[place])
        weights = torch.softmax(seen @ self.get_buffer("attention") - self.decay * torch.log1p(place.float()), dim=0)
        return weights @ seen

    def forward(self, user: Tensor, match: Tensor, item: Tensor, history: Tensor) -> Tensor:
        """Probabilities [K, n_objectives] of one request: user [n_user], match [K, n_match], item [K], history [H]."""
        taste, embedded = self._taste(history), self.embedding(item)
        about_user = torch.cat((self._standardized(user, "user"), taste)).expand(len(item), -1)
        about_match = torch.cat((self._standardized(match, "match"), (embedded @ taste)[:, None]), dim=1)
        wide = torch.cat((about_user, self.get_buffer("item_features")[item], embedded, about_match), dim=1)
        return torch.sigmoid(self.layers(wide))


def _linear(weight: Floats, bias: Floats) -> nn.Linear:
    layer = nn.Linear(*weight.shape)
    layer.load_state_dict({"weight": torch.from_numpy(np.ascontiguousarray(weight.T)), "bias": torch.from_numpy(bias)})
    return layer


def deep_module(bundle: Bundle) -> DeepModule:
    """The module of a bundle's deep ranker, ready to infer."""
    ranker: Any = bundle.rankers["deep"]
    module = DeepModule(ranker.tensors, ranker.kernel.embedding, bundle.items)
    return module.eval()


@dataclass(frozen=True)
class Monolith:
    """Everything one process holds."""

    settings: Settings
    bundle: Bundle
    module: DeepModule
    store: "redis.asyncio.Redis"

    async def answer(self, asked: Asked) -> bytes:
        """One request from first to last, as JSON."""
        items, policy = self.bundle.items, self.settings.slate
        blob = await self.store.get(_key(ProfileKey(asked.user_id, asked.profile_id)))
        state, own = _profile.decode(cast(bytes, blob)) if blob else (b"", ProfileSettings())
        profiles = columns([fold.decode(state)], [own])
        requests = one(asked, os.urandom(16).hex(), time.time_ns() // 1_000_000_000, items)
        requests.region = [asked.region or own.country or self.settings.serving.default_region]
        stage = CandidateStage(items, self.bundle.text, self.bundle.sources, self.settings.sources)
        candidates = stage.generate(requests, profiles)
        n_candidates = int((candidates.items >= 0).sum())
        mix = own_mix(profiles, items, policy)
        candidates, p = self._ranked(requests, profiles, candidates, mix)
        scores = weigh(p, items, candidates.items, policy)
        resumed = candidates.ranks[:, :, candidates.sources.index("resume")] > 0
        listed = np.where(resumed & ((candidates.ranks > 0).sum(axis=2) == 1), -np.inf, scores).astype(np.float32)
        about = candidates.items, items, requests.n_items, policy, requests.ids
        chosen = slate(listed, *about, mix=mix).positions[0]
        places = chosen[chosen >= 0].astype(np.int64)
        body: dict[str, Any] = {"recommendation_id": requests.ids[0], "n_candidates": n_candidates}
        if asked.page != word(Page.HOMEPAGE):
            return msgspec.json.encode(body | {"recommendations": self._listed(candidates, scores[0], places)})
        order = np.argsort(-scores[0], kind="stable")
        shown = order[scores[0][order] > -np.inf]
        liked = genre_preference(profiles, items, requests.now_s)[0]
        view = View(0, candidates, scores[0], shown, places, items, profiles, liked, requests.region[0])
        rows = [
            {"title": row.row.title, "reason": row.row.reason, "items": self._listed(candidates, scores[0], row.places)}
            for row in homepage(view, asked.n_rows, asked.n_items)
        ]
        return msgspec.json.encode(body | {"rows": rows})

    def _ranked(
        self, requests: Requests, profiles: Profiles, candidates: Candidates, mix: Floats | None
    ) -> tuple[Candidates, Floats]:
        batch = ranker_input(requests, profiles, self.bundle.items, candidates, N_HISTORY)
        n_kept = n_shown(requests) * self.settings.slate.ranked_per_place
        if (n_kept < candidates.items.shape[1]).any():
            # The same first pass: a calibrated list looks far down, and what the pass leaves out is not there to be found.
            genres = wanted_genres(mix, self.bundle.items, requests.n_items)
            places = self.bundle.preranks["deep"].places(batch, n_kept, genres)
            candidates, batch = only(candidates, places), batch.at(places)
        n = int((batch.items[0] >= 0).sum())  # padding stands at the end
        given = (batch.user[0], batch.match[0, :n], batch.items[0, :n].astype(np.int64), batch.history[0].astype(np.int64))
        with torch.inference_mode():
            return candidates, np.asarray(self.module(*map(torch.from_numpy, given)).numpy()[None], np.float32)

    def _listed(self, candidates: Candidates, scores: Floats, places: Longs) -> list[dict[str, Any]]:
        items = self.bundle.items
        numbers = candidates.items[0, places]
        return [
            {"content_id": items.content_ids[n], "name": items.names[n], "score": round(float(score), 6), "position": position}
            for position, (n, score) in enumerate(zip(numbers.tolist(), scores[places], strict=True))
        ]


def load() -> Monolith:
    """What the environment's settings name, loaded once per process."""
    settings = settings_module.load(None, os.environ)
    torch.set_num_threads(1)
    registry = Registry(settings.registry_dir)
    bundle_id = registry.resolve("champion")
    bundle = from_bytes(bundle_id, *registry.read(bundle_id))
    return Monolith(settings, bundle, deep_module(bundle), redis.asyncio.Redis.from_url(settings.store.url))


def app() -> FastAPI:
    """The ASGI application over the environment's settings."""
    monolith = load()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await monolith.store.aclose()

    api = FastAPI(lifespan=lifespan)

    @api.get(f"{_BASE}/homepage")
    async def _homepage(user_id: str, profile_id: str, num_rows: int = 10, row_size: int = 20) -> Response:
        asked = Asked(word(Page.HOMEPAGE), user_id, profile_id, row_size, num_rows)
        return Response(await monolith.answer(asked), media_type="application/json")

    @api.get(f"{_BASE}/category")
    async def _category(user_id: str, profile_id: str, category: str, num_recommendations: int = 20) -> Response:
        asked = Asked(word(Page.CATEGORY), user_id, profile_id, num_recommendations, category=category)
        return Response(await monolith.answer(asked), media_type="application/json")

    return api
