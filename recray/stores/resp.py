"""How commands reach a RESP server: one round trip per call, every failure as `StoreError`.

`resp_cluster.py` does the same for a cluster.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from recray.errors import ConfigError, StoreError
from recray.settings import StoreSettings
from recray.stores import scripts

Command: TypeAlias = tuple[Any, ...]


class RespClient:
    """Connections to one server; the first call connects, and the first after a loss connects anew.

    State: a pool of connections that belong to the event loop of the first call. Nothing is retried here: a caller that
    repeats an append is protected by dedup.
    """

    def __init__(self, url: str, settings: StoreSettings) -> None:
        parts = urlsplit(url)
        self.address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._settings = settings
        self._laid_out = False
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
        if not commands:
            return []
        with self._mapped():
            if not self._laid_out:
                await self._check_layout()
            answers = await self._send(commands)
            lost = [n for n, answer in enumerate(answers) if isinstance(answer, exceptions.NoScriptError)]
            if lost:
                await self._send_everywhere([("SCRIPT LOAD", script.source) for script in scripts.ALL])
                for n, answer in zip(lost, await self._send([commands[n] for n in lost]), strict=True):
                    answers[n] = answer
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers

    async def ask_after(self, first: Sequence[Command], then: Sequence[Command]) -> list[Any]:
        """Answers of both; nothing of `then` is done before all of `first` is."""
        return await self.ask([*first, *then])

    async def ask_everywhere(self, command: Command) -> list[Any]:
        """The answer of every server that takes writes."""
        with self._mapped():
            answers = await self._send_everywhere([command])
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers

    async def _send_everywhere(self, commands: Sequence[Command]) -> list[Any]:
        return await self._send(commands)

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return await pipe.execute(raise_on_error=False)

    async def _check_layout(self) -> None:
        wanted = self._settings.n_shards
        answers = await self._send([("SET", "recray:n_shards", wanted, "NX"), ("GET", "recray:n_shards")])
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        found = answers[1]
        if int(found) != wanted:
            raise ConfigError(
                f"store {self.address} is laid out for {int(found)} shards; settings say store.n_shards {wanted}: "
                f"set it to {int(found)}, or use an empty store and publish again"
            )
        self._laid_out = True

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
