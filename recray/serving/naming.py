"""When two requests may share an answer: a name that holds everything which decides one, but the profile's state.

The state is what the store's lease stands for. A request without a name has to be answered for itself.
"""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import msgspec

from recray.features.items import FOREVER, LONG_AGO, Items
from recray.features.views import fingerprint
from recray.recommend import Parts
from recray.schema import ProfileKey
from recray.serving.asking import Asked
from recray.settings import Settings

NAME_BYTES: Final = 32
_encoder: Final = msgspec.json.Encoder(order="deterministic")


def digest(facts: Any) -> bytes:
    """Thirty-two bytes that stand for JSON values; JSON delimits them, so different values have different texts."""
    return blake2b(_encoder.encode(facts), digest_size=NAME_BYTES).digest()


@dataclass(slots=True)
class LicencePeriods:
    """Between which two changes of any licence a moment lies, so that an answer is not reused across one.

    State: the period last asked for and of which catalogue, since the next request is nearly always in it.
    """

    _items: Items | None = None
    _began_s: int = 0
    _ends_s: int = 0

    def began_s(self, items: Items, now_s: int) -> int:
        """The last change at or before a moment, the same on every replica; LONG_AGO when nothing changed before it."""
        if items is not self._items or not self._began_s <= now_s < self._ends_s:
            changes = (items.available_from_s, items.available_until_s)
            self._items = items
            self._began_s = max(int(at.max(initial=LONG_AGO, where=at <= now_s)) for at in changes)
            self._ends_s = min(int(at.min(initial=FOREVER, where=at > now_s)) for at in changes)
        return self._began_s


@dataclass(slots=True)
class Naming:
    """Names of one replica's answers. `context` is what its settings contribute (`context_of`)."""

    parts: Parts
    context: str
    _periods: LicencePeriods = field(default_factory=LicencePeriods)

    def name(self, asked: Asked, now_s: int) -> bytes | None:
        """Thirty-two bytes, equal for requests that the same state answers alike; None where the slate is drawn at random.

        Raises:
            StageError: no bundle is loaded.
        """
        (arm,) = self.parts.experiments.assign_batch([ProfileKey(asked.user_id, asked.profile_id)])
        if arm.slate.get("exploration", self.parts.slate.exploration) > 0:
            return None
        bundle = self.parts.shelf.named(arm.bundle)
        period = self._periods.began_s(bundle.items, now_s)
        wanted = asked.facts() | {"content_types": sorted(set(asked.content_types))}
        return digest((self.context, bundle.id, arm.ranker, arm.arms, arm.slate, period, wanted))


def context_of(settings: Settings) -> str:
    """Whatever of the settings and the code decides answers, as one text: replicas that differ in it share nothing."""
    decisive = settings.model_dump(mode="json", include={"sources", "slate", "live"}) | {
        "region": settings.serving.default_region
    }
    return digest((fingerprint(), decisive)).hex()
