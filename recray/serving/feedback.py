"""Feedback on its way in: checked, packed, appended in one atomic step, then folded.

An event is acknowledged after `append` and not before. Folding follows at once, and a read folds whatever is still in the
inbox, so the next answer sees the event even if this process dies in between.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from recray.errors import RequestError
from recray.features.fold import pack, packed_value
from recray.features.items import Items
from recray.schema import ACTION_OF, DEVICE_OF, Action, Device, Event, ProfileKey, word
from recray.serving.asking import DEVICES
from recray.settings import StoreSettings
from recray.stores.event_log import derived_event_id
from recray.stores.online import Arrival, OnlineStore

MAX_EVENTS: Final = 1_000
Id = Annotated[str, Field(min_length=1, max_length=256)]
_ACTIONS: Final = tuple(word(action) for action in Action)


class Feedback(BaseModel):
    """One event as a client sends it. `timestamp` is ISO 8601 with zone, or epoch seconds; absent means now."""

    model_config = ConfigDict(extra="forbid")

    user_id: Id
    profile_id: Id
    content_id: Id
    action: Literal[_ACTIONS]  # type: ignore[valid-type]  # the enumeration is the one place that lists actions
    timestamp: AwareDatetime | Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    event_id: Id | None = None
    value: Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)] | None = None
    watch_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    progress: Annotated[float, Field(ge=0, le=1)] | None = None
    device: Literal[DEVICES] = word(Device.OTHER)  # type: ignore[valid-type]  # likewise
    recommendation_id: Id | None = None
    row: Annotated[int, Field(ge=0, le=1_000)] | None = None
    position: Annotated[int, Field(ge=0, le=10_000)] | None = None

    @field_validator("timestamp", mode="before")
    @classmethod
    def _number_is_seconds(cls, given: Any) -> Any:
        # Left to itself pydantic reads large numbers as milliseconds and small ones as dates.
        return float(given) if isinstance(given, int | float) and not isinstance(given, bool) else given

    def at_s(self, now_s: int) -> int:
        """When it happened, in seconds since 1970."""
        if self.timestamp is None:
            return now_s
        return int(self.timestamp.timestamp() if isinstance(self.timestamp, datetime) else self.timestamp)


@dataclass(slots=True, frozen=True)
class Intake:
    """Takes events in. Stateless: the store holds everything."""

    store: OnlineStore
    limits: StoreSettings
    settle: Callable[[ProfileKey], None]

    async def take(self, feedback: Sequence[Feedback], items: Items, now_s: int) -> list[str]:
        """Each event's own verdict: `accepted`, `duplicate`, or `rejected: why`; accepted ones are durable on return.

        Raises:
            StoreError: the store did not answer; nothing is acknowledged, and sending all of it again is safe.
        """
        arrivals: list[Arrival] = []
        verdicts: list[str] = []
        for one in feedback:
            try:
                arrivals.append(arrival(one, items, now_s, self.limits))
                verdicts.append("")
            except RequestError as problem:
                verdicts.append(f"rejected: {problem}")
        stored = iter(await self.store.append(arrivals)) if arrivals else iter(())
        for key in {one.key for one in arrivals}:
            self.settle(key)
        return [verdict or next(stored).value for verdict in verdicts]


def arrival(feedback: Feedback, items: Items, now_s: int, limits: StoreSettings) -> Arrival:
    """The event in the form in which it is stored.

    Raises:
        UnknownTitleError: the title is not in the catalogue.
        RequestError: it lies too far in the future or in the past, or a rating without a value.
    """
    at_s = feedback.at_s(now_s)
    _check_time(at_s - now_s, limits)
    action = ACTION_OF[feedback.action]
    if action == Action.RATE and feedback.value is None:
        raise RequestError("action 'rate' came without value; expected stars from 0.5 to 5")
    number = items.number(feedback.content_id)
    device = DEVICE_OF[feedback.device]
    event = Event(
        event_id=feedback.event_id or "",
        user_id=feedback.user_id,
        profile_id=feedback.profile_id,
        content_id=feedback.content_id,
        action=action,
        event_at_s=at_s,
        value=_single(feedback.value),
        watch_s=_single(feedback.watch_s),
        progress=_single(feedback.progress),
        device=device,
        recommendation_id=feedback.recommendation_id,
        row=feedback.row,
        position=feedback.position,
    )
    if not event.event_id:
        event = Event(**{name: getattr(event, name) for name in Event.__slots__} | {"event_id": derived_event_id(event)})
    value = packed_value(action, event.value, event.progress)
    packed = pack(*(np.array([part]) for part in (at_s, number, int(action), int(device), value)))
    return Arrival(event, int(packed[0]), now_s)


def _check_time(ahead_s: int, limits: StoreSettings) -> None:
    if ahead_s > limits.max_future_s:
        raise RequestError(
            f"timestamp is {ahead_s} s in the future; at most {limits.max_future_s} s are accepted: set the client's clock"
        )
    if -ahead_s > limits.max_late_s:
        # Its dedup mark may have gone: taken again, it would count twice.
        raise RequestError(
            f"timestamp is {-ahead_s} s in the past; at most {limits.max_late_s} s are accepted: bring older events in with "
            "'recray import files'"
        )


def _single(number: float | None) -> float | None:
    """A number as the tables hold it, so that an event packs alike when it comes and when it is read back."""
    return None if number is None else float(np.float32(number))
