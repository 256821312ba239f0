"""How commands reach a RESP server: one round trip per call, every failure as `StoreError`.

`resp_cluster.py` does the same for a cluster.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from recray.errors import ConfigError, StoreError
from recray.settings import StoreSettings
from recray.stores import scripts, scripts_group, scripts_moving, scripts_versions

Command: TypeAlias = tuple[Any, ...]
STALE: Final = object()
"""The answer of a script that found its shard in another epoch than the caller's."""
_PER_SCAN: Final = 1_000
_SCRIPTS: Final = (*scripts.ALL, *scripts_group.ALL, *scripts_moving.ALL, *scripts_versions.ALL)


class RespClient:
    """Connections to one server; the first call connects, and the first after a loss connects anew.

    State: a pool of connections that belong to the event loop of the first call. Nothing is retried here: a caller that
    repeats an append is protected by dedup.
    """

    def __init__(self, url: str, settings: StoreSettings) -> None:
        parts = urlsplit(url)
        self.address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._settings = settings
        try:
            self._client = self._connected(url)
        except ValueError as problem:
            raise ConfigError(
                f"store.url is {self.address!r} ({problem}); expected redis://[user:password@]host:port/db"
            ) from problem

    def _connected(self, url: str) -> Any:
        wait_s = self._settings.timeout_s
        return Redis.from_url(url, socket_timeout=wait_s, socket_connect_timeout=wait_s, retry=Retry(NoBackoff(), 0))

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Answers of commands sent in one round trip without a transaction; scripts that the server lost are given again."""
        with self._mapped():
            return _whole(await self._answers(commands))

    async def ask_placed(self, calls: Sequence[Command], then: Sequence[Command] = ()) -> list[Any]:
        """Answers of placed scripts, `STALE` where one refused; commands in `then` are done after all of them in any case."""
        with self._mapped():
            answers = await self._answers_in_turn(calls, then)
            return _whole([STALE if _is_stale(answer) else answer for answer in answers])[: len(calls)]

    async def ask_everywhere(self, command: Command) -> list[Any]:
        """The answer of every server that takes writes."""
        with self._mapped():
            return _whole(await self._send_everywhere([command]))

    async def _answers_in_turn(self, first: Sequence[Command], then: Sequence[Command]) -> list[Any]:
        return await self._answers([*first, *then])

    async def _answers(self, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        answers = await self._send(commands)
        lost = [n for n, answer in enumerate(answers) if isinstance(answer, exceptions.NoScriptError)]
        if lost:
            await self._send_everywhere([("SCRIPT LOAD", script.source) for script in _SCRIPTS])
            for n, answer in zip(lost, await self._send([commands[n] for n in lost]), strict=True):
                answers[n] = answer
        return answers

    async def scan(self) -> AsyncIterator[list[bytes]]:
        """The names of all keys, some at a time. One that is there all the while comes at least once."""
        with self._mapped():
            servers = await self._servers()
        for send in servers:
            reached = None
            while reached != 0:
                with self._mapped():
                    ((reached, keys),) = _whole(await send([("SCAN", reached or 0, "COUNT", _PER_SCAN)]))
                yield keys

    async def sample(self, most_keys: int) -> list[tuple[int, list[bytes]]]:
        """How many keys each server holds, and the names of about `most_keys` of them, as chance has laid them."""
        found: list[tuple[int, list[bytes]]] = []
        with self._mapped():
            for send in await self._servers():
                names, reached = dict[bytes, None](), None
                (n_keys,) = _whole(await send([("DBSIZE",)]))
                while reached != 0 and len(names) < most_keys:
                    ((reached, keys),) = _whole(await send([("SCAN", reached or 0, "COUNT", _PER_SCAN)]))
                    names.update(dict.fromkeys(keys))
                found.append((n_keys, list(names)))
        return found

    async def _servers(self) -> list[Callable[[Sequence[Command]], Awaitable[list[Any]]]]:
        """How to send commands to each server that takes writes."""
        return [self._send]

    async def _send_everywhere(self, commands: Sequence[Command]) -> list[Any]:
        """Answers of all servers; where one could not be asked, the failure is its only answer."""
        sent = [send(commands) for send in await self._servers()]
        answers: list[Any] = []
        for told in await asyncio.gather(*sent, return_exceptions=True):
            answers += [told] if isinstance(told, BaseException) else told
        return answers

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return await pipe.execute(raise_on_error=False)

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except exceptions.TimeoutError as problem:
            raise StoreError(
                f"store {self.address} did not answer within {self._settings.timeout_s} s ({problem}); "
                "check that the server runs and is not overloaded, or raise store.timeout_s"
            ) from problem
        except exceptions.ResponseError as problem:
            raise StoreError(
                f"store {self.address} refused: {problem}; expected a writable Redis >= 7 or Valkey with memory to spare"
            ) from problem
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as problem:
            raise StoreError(
                f"store {self.address} cannot be reached ({problem}); "
                "start the server, set store.url, or leave it empty for the embedded one"
            ) from problem


def _is_stale(answer: Any) -> bool:
    return isinstance(answer, exceptions.ResponseError) and str(answer).startswith(scripts.STALE)


def _whole(answers: list[Any]) -> list[Any]:
    """The answers, if none of them is a failure."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers
