"""The Lua that a Redis or Valkey server runs for `RedisStore`, one script per atomic step.

Every script touches keys of one shard only, all of them passed as KEYS, so each runs unchanged on a cluster. A placed one
takes the shard's epoch as its last key and the caller's as its last argument, and does nothing when they differ
(`known_layout.py`). Values are bytes and pass through as they are.
Fields of a profile's hash: s state, i inbox, c settings, o present once settings were put,
v version, g generation. Fields of the hash of its kept answers: l lease, v version that the lease stands for, n bytes kept,
and each answer by its name.
"""

from dataclasses import dataclass, field
from hashlib import sha1
from typing import Final

STALE: Final = "STALE"
_SAME_EPOCH: Final = f"""
if (redis.call('GET', KEYS[#KEYS]) or '0') ~= ARGV[#ARGV] then return redis.error_reply('{STALE} epoch') end
"""


@dataclass(frozen=True, slots=True)
class Script:
    """Lua source and the name that the server gives it."""

    source: str
    placed: bool = False
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        if self.placed:
            object.__setattr__(self, "source", _SAME_EPOCH + self.source)
        object.__setattr__(self, "sha", sha1(self.source.encode(), usedforsecurity=False).hexdigest())


APPEND: Final = Script(
    """
local verdicts = {}
for n = 1, (#KEYS - 2) / 3 do
  local profile, by_id, by_word = KEYS[3 * n - 1], KEYS[3 * n], KEYS[3 * n + 1]
  verdicts[n] = 0
  if redis.call('EXISTS', by_id, by_word) == 0 then
    local word = ARGV[3 * n]
    redis.call('SET', by_id, '', 'EX', ARGV[1])
    redis.call('SET', by_word, '', 'EX', ARGV[1])
    redis.call('XADD', KEYS[1], '*', 'p', ARGV[3 * n - 1], 'e', ARGV[3 * n + 1])
    if #word > 0 then
      redis.call('HSET', profile, 'i', (redis.call('HGET', profile, 'i') or '') .. word)
      redis.call('HINCRBY', profile, 'v', 1)
    end
    verdicts[n] = 1
  end
end
return verdicts
""",
    placed=True,
)
"""KEYS: log, then per event profile, mark of the id, mark of the word. ARGV: TTL, then per event digest, word, entry."""

SETTLE: Final = Script(
    """
local held = redis.call('HMGET', KEYS[1], 'g', 'i')
local inbox = held[2] or ''
local folded = tonumber(ARGV[2])
if (held[1] or '0') ~= ARGV[1] or #inbox < folded then return 0 end
redis.call('HSET', KEYS[1], 's', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'g', 1)
if #inbox == folded then
  redis.call('HDEL', KEYS[1], 'i')
else
  redis.call('HSET', KEYS[1], 'i', string.sub(inbox, folded + 1))
end
return 1
""",
    placed=True,
)
"""KEYS: profile. ARGV: generation, bytes folded, state. Returns whether it was done."""

SETTINGS: Final = Script(
    """
redis.call('HSET', KEYS[1], 'c', ARGV[1], 'o', 1)
return redis.call('HINCRBY', KEYS[1], 'v', 1)
""",
    placed=True,
)
"""KEYS: profile. ARGV: settings. Returns the version."""

LOAD: Final = Script(
    """
local written = {}
for n = 1, #KEYS - 1 do
  local wanted = ARGV[3 * n]
  written[n] = 0
  if wanted == '' or wanted == (redis.call('HGET', KEYS[n], 'v') or '0') then
    redis.call('HSET', KEYS[n], 's', ARGV[3 * n - 2])
    if redis.call('HEXISTS', KEYS[n], 'o') == 0 then redis.call('HSET', KEYS[n], 'c', ARGV[3 * n - 1]) end
    if wanted ~= '' then redis.call('HDEL', KEYS[n], 'i') end
    redis.call('HINCRBY', KEYS[n], 'v', 1)
    redis.call('HINCRBY', KEYS[n], 'g', 1)
    written[n] = 1
  end
end
return written
""",
    placed=True,
)
"""KEYS: profiles. ARGV: state, settings and wanted version ('' any) of each. Returns which were written."""

ERASE: Final = Script(
    """
local last = '0-0'
if redis.call('EXISTS', KEYS[3]) == 1 then
  local facts = redis.call('XINFO', 'STREAM', KEYS[3])
  for n = 1, #facts, 2 do
    if facts[n] == 'last-generated-id' then last = facts[n + 1] end
  end
end
redis.call('HSET', KEYS[4], ARGV[1], last)
redis.call('UNLINK', KEYS[2])
return {redis.call('UNLINK', KEYS[1]), last}
""",
    placed=True,
)
"""KEYS: profile, its recommendation ids, log, erasures. ARGV: mark. Returns profiles deleted and the log's last position."""

FORGET: Final = Script("""
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
""")
"""KEYS: erasures. ARGV: mark, position. Returns whether that erasure was there and is no more."""

SERVED: Final = Script(
    """
local now = tonumber(redis.call('TIME')[1])
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', 'p', ARGV[1], 'e', ARGV[3], 'r', ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], now + ARGV[5], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return 1
""",
    placed=True,
)
"""KEYS: slate log, the profile's unexpired recommendation ids. ARGV: digest, id, slate, longest log, TTL."""

OWNED: Final = Script("""
local last, found = '', {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])) do
  last = entry[1]
  if entry[2][2] == ARGV[3] then
    found[#found + 1] = {entry[1], entry[2][4], entry[2][6] or ''}
  end
end
return {last, found}
""")
"""KEYS: log. ARGV: first position, entries to look at, digest. Returns the last position seen ('' at the end) and what
belongs to the profile: position, entry, recommendation id."""

LOOK_UP: Final = Script(
    """
local version = redis.call('HGET', KEYS[1], 'v') or '0'
local held = redis.call('HMGET', KEYS[2], 'l', 'v')
if held[1] and held[2] == version then
  if held[1] == ARGV[3] then return {held[1], false} end
  return {held[1], redis.call('HGET', KEYS[2], ARGV[1])}
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'l', ARGV[2], 'v', version, 'n', 0)
redis.call('EXPIRE', KEYS[2], ARGV[4])
return {ARGV[2], false}
""",
    placed=True,
)
"""KEYS: profile, its kept answers. ARGV: name, new lease, lease of the caller's copy, TTL. Returns lease and answer."""

KEEP: Final = Script(
    """
local held = redis.call('HMGET', KEYS[2], 'l', 'v', 'n')
local size, most = #ARGV[3], tonumber(ARGV[4])
if held[1] ~= ARGV[2] or held[2] ~= (redis.call('HGET', KEYS[1], 'v') or '0') or size > most
  or redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 0 end
if held[3] + size > most then
  for _, name in ipairs(redis.call('HKEYS', KEYS[2])) do
    if #name > 1 then redis.call('HDEL', KEYS[2], name) end
  end
  redis.call('HSET', KEYS[2], 'n', 0)
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('HINCRBY', KEYS[2], 'n', size)
return 1
""",
    placed=True,
)
"""KEYS: profile, its kept answers. ARGV: name, lease, answer, most bytes. Returns whether it was kept."""

READ: Final = Script(
    """
local found = {}
for n = 1, #KEYS - 1 do found[n] = redis.call('HMGET', KEYS[n], 's', 'i', 'c', 'v', 'g') end
return found
""",
    placed=True,
)
"""KEYS: profiles. Returns state, inbox, settings, version and generation of each."""

ALL: Final = (READ, APPEND, SETTLE, SETTINGS, LOAD, ERASE, FORGET, SERVED, OWNED, LOOK_UP, KEEP)
