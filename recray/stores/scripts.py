"""The Lua that a Redis or Valkey server runs for `RedisStore`, one script per atomic step.

Every script touches keys of one shard only, all of them passed as KEYS, so each runs unchanged on a cluster. Values are
bytes and pass through as they are. Fields of a profile's hash: s state, i inbox, c settings, o present once settings were put,
v version, g generation. Fields of the hash of its kept answers: l lease, v version that the lease stands for, n bytes kept,
and each answer by its name.
"""

from dataclasses import dataclass, field
from hashlib import sha1
from typing import Final


@dataclass(frozen=True, slots=True)
class Script:
    """Lua source and the name that the server gives it."""

    source: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", sha1(self.source.encode(), usedforsecurity=False).hexdigest())


APPEND: Final = Script("""
local verdicts = {}
for n = 1, (#KEYS - 1) / 3 do
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
""")
"""KEYS: log, then per event profile, mark of the id, mark of the word. ARGV: TTL, then per event digest, word, entry."""

SETTLE: Final = Script("""
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
""")
"""KEYS: profile. ARGV: generation, bytes folded, state. Returns whether it was done."""

SETTINGS: Final = Script("""
redis.call('HSET', KEYS[1], 'c', ARGV[1], 'o', 1)
return redis.call('HINCRBY', KEYS[1], 'v', 1)
""")
"""KEYS: profile. ARGV: settings. Returns the version."""

LOAD: Final = Script("""
local written = {}
for n = 1, #KEYS do
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
""")
"""KEYS: profiles. ARGV: state, settings and wanted version ('' any) of each. Returns which were written."""

ERASE: Final = Script("""
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
""")
"""KEYS: profile, its recommendation ids, log, erasures. ARGV: mark. Returns profiles deleted and the log's last position."""

FORGET: Final = Script("""
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
""")
"""KEYS: erasures. ARGV: mark, position. Returns whether that erasure was there and is no more."""

SERVED: Final = Script("""
local now = tonumber(redis.call('TIME')[1])
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', 'p', ARGV[1], 'e', ARGV[3], 'r', ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], now + ARGV[5], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return 1
""")
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

LOOK_UP: Final = Script("""
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
""")
"""KEYS: profile, its kept answers. ARGV: name, new lease, lease of the caller's copy, TTL. Returns lease and answer."""

KEEP: Final = Script("""
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
""")
"""KEYS: profile, its kept answers. ARGV: name, lease, answer, most bytes. Returns whether it was kept."""

_FIRST_NEEDED: Final = """
local function before(a, b)
  local a1, a2 = string.match(a, '(%d+)-(%d+)')
  local b1, b2 = string.match(b, '(%d+)-(%d+)')
  if a1 == b1 then return tonumber(a2) < tonumber(b2) end
  return tonumber(a1) < tonumber(b1)
end
local function following(id)
  local ms, number = string.match(id, '(%d+)-(%d+)')
  return ms .. '-' .. string.format('%.0f', tonumber(number) + 1)
end
local function first_needed(log, through)
  local first = following(through)
  if redis.call('EXISTS', log) == 0 then return first end
  for _, facts in ipairs(redis.call('XINFO', 'GROUPS', log)) do
    local group = {}
    for n = 1, #facts, 2 do group[facts[n]] = facts[n + 1] end
    local needed = following(group['last-delivered-id'])
    if group['pending'] > 0 then needed = redis.call('XPENDING', log, group['name'])[2] end
    if before(needed, first) then first = needed end
  end
  return first
end
local function finish(log, group, through)
  repeat
    local held = redis.call('XPENDING', log, group, '-', through, 1000)
    for _, one in ipairs(held) do redis.call('XACK', log, group, one[1]) end
  until #held == 0
end
"""
"""Lua that several scripts share: what no group needs any more ends before `first_needed`."""

TRIM: Final = Script(
    _FIRST_NEEDED
    + """
return redis.call('XTRIM', KEYS[1], 'MINID', first_needed(KEYS[1], ARGV[1]))
"""
)
"""KEYS: log. ARGV: last position that may go. Returns how many went."""

BEGIN: Final = Script(
    _FIRST_NEEDED
    + """
local group, through, member, idle_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
redis.pcall('XGROUP', 'CREATE', KEYS[1], group, through, 'MKSTREAM')
finish(KEYS[1], group, through)
local alone = true
for _, facts in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], group)) do
  local other = {}
  for n = 1, #facts, 2 do other[facts[n]] = facts[n + 1] end
  if other['name'] ~= member then
    if other['idle'] < idle_ms then
      alone = false
    elseif other['pending'] == 0 then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[1], group, other['name'])
    end
  end
end
if alone then redis.call('XGROUP', 'SETID', KEYS[1], group, through) end
return alone and 1 or 0
"""
)
"""KEYS: log. ARGV: group, finished position, member, claim time in ms. Returns whether no other member is active."""

TAKE: Final = Script("""
local group, member, limit, from = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local found = {}
local function add(entries)
  for _, entry in ipairs(entries) do
    local values = entry[2] or {'', '', '', ''}
    found[#found + 1] = {entry[1], values[4] or '', values[2] or ''}
  end
end
if from == '>' then
  add(redis.call('XAUTOCLAIM', KEYS[1], group, member, ARGV[4], '0-0', 'COUNT', limit)[2])
end
local read = redis.call('XREADGROUP', 'GROUP', group, member, 'COUNT', limit, 'STREAMS', KEYS[1], from)
if read then add(read[1][2]) end
return found
""")
"""KEYS: log. ARGV: group, member, limit, claim time in ms, '>' or '0'. Returns position, entry, digest of each."""

HELD: Final = Script("return redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[2])")
"""KEYS: log. ARGV: group, limit. Returns position, member, idle ms, tries of each."""

RETRY: Final = Script("return #redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(ARGV, 3))")
"""KEYS: log. ARGV: group, member, positions. Returns how many were there."""

FINISH: Final = Script(
    _FIRST_NEEDED
    + """
finish(KEYS[1], ARGV[1], ARGV[2])
return redis.call('XTRIM', KEYS[1], 'MINID', first_needed(KEYS[1], ARGV[2]))
"""
)
"""KEYS: log. ARGV: group, finished position. Returns how many entries were trimmed."""

LAG: Final = Script("""
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, 0} end
local reached, pending = '0-0', 0
for _, facts in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for n = 1, #facts, 2 do group[facts[n]] = facts[n + 1] end
  if group['name'] == ARGV[1] then reached, pending = group['last-delivered-id'], group['pending'] end
end
local n_new = #redis.call('XRANGE', KEYS[1], '(' .. reached, '+', 'COUNT', ARGV[2])
local oldest
if pending > 0 then
  oldest = redis.call('XPENDING', KEYS[1], ARGV[1])[2]
elseif n_new > 0 then
  oldest = redis.call('XRANGE', KEYS[1], '(' .. reached, '+', 'COUNT', 1)[1][1]
end
if not oldest then return {0, 0} end
local now = redis.call('TIME')
return {pending + n_new, math.max(now[1] * 1000 + math.floor(now[2] / 1000) - string.match(oldest, '%d+'), 0)}
""")
"""KEYS: log. ARGV: group, most new entries to count. Returns unfinished entries and the age in ms of the oldest."""

PUBLISH: Final = Script("""
local number = tonumber(ARGV[1])
if number ~= tonumber(redis.call('HGET', KEYS[1], 'n') or 0) + 1 then return 0 end
redis.call('HSET', KEYS[1], 'n', ARGV[1], 'm', ARGV[3], ARGV[1], ARGV[2])
for _, kept in ipairs(redis.call('HKEYS', KEYS[1])) do
  local old = tonumber(kept)
  if old and old <= number - tonumber(ARGV[4]) then redis.call('HDEL', KEYS[1], kept) end
end
return 1
""")
"""KEYS: versions. ARGV: number, value, memory, how many to keep. Returns whether the number was the next."""

RESUME: Final = Script(
    "local n = redis.call('HGET', KEYS[1], 'n') return n and redis.call('HMGET', KEYS[1], 'n', n, 'm') or {}"
)
"""KEYS: versions. Returns the newest number, its value and the memory, or nothing."""
DISBAND: Final = Script("return redis.call('EXISTS', KEYS[1]) == 1 and redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) or 0")
"""KEYS: log. ARGV: group. Returns whether there was one."""

ALL: Final = (
    APPEND, SETTLE, SETTINGS, LOAD, ERASE, FORGET, SERVED, OWNED, LOOK_UP, KEEP, TRIM, BEGIN, TAKE, HELD, RETRY, FINISH, LAG,
    PUBLISH, RESUME, DISBAND,
)  # fmt: skip
