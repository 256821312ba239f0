"""The Lua by which a store grows: epochs of shards, and profiles that leave one shard for another.

A shard that was brought to an odd epoch takes no writes for profiles that leave it: what it holds of them stands still. Each
of these profiles is claimed in its new shard, read from the old one, adopted in the new one and dropped from the old one. A
claim (field m of the profile's hash) is a word that only one mover knows; who adopts without holding it changes nothing, so
that a mover which slept cannot bring back what was erased meanwhile.
"""

from typing import Final

from recray.stores.scripts import Script

ADVANCE: Final = Script("""
if tonumber(redis.call('GET', KEYS[1]) or '0') >= tonumber(ARGV[1]) then return 0 end
local last = '0-0'
if redis.call('EXISTS', KEYS[2]) == 1 then
  local facts = redis.call('XINFO', 'STREAM', KEYS[2])
  for n = 1, #facts, 2 do
    if facts[n] == 'last-generated-id' then last = facts[n + 1] end
  end
end
redis.call('HSET', KEYS[3], ARGV[1], last)
redis.call('SET', KEYS[1], ARGV[1])
return 1
""")
"""KEYS: epoch, log, cuts. ARGV: new epoch. Returns whether the shard was behind; notes where its log ended at that moment."""

CHANGE: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
""")
"""KEYS: layout. ARGV: before, after. Returns whether it was as before."""

ANY: Final = Script(
    """
local found = {}
for n = 1, #KEYS - 1, 2 do found[#found + 1] = redis.call('EXISTS', KEYS[n], KEYS[n + 1]) end
return found
""",
    placed=True,
)
"""KEYS: two of each. Returns how many of each two are there."""

CLAIM: Final = Script(
    """
local claimed = {}
for n = 1, #KEYS - 1 do
  claimed[n] = 0
  if redis.call('EXISTS', KEYS[n]) == 0 or redis.call('HEXISTS', KEYS[n], 'm') == 1 then
    redis.call('HSET', KEYS[n], 'm', ARGV[1])
    claimed[n] = 1
  end
end
return claimed
""",
    placed=True,
)
"""KEYS: profiles in the new shard. ARGV: claim. Returns which are not there yet, and are claimed now."""

LEAVING: Final = Script(
    """
local found = {}
for n = 1, #KEYS - 1, 2 do
  found[#found + 1] = {
    redis.call('HGETALL', KEYS[n]), redis.call('ZRANGE', KEYS[n + 1], 0, -1, 'WITHSCORES'), redis.call('PTTL', KEYS[n + 1])
  }
end
return found
""",
    placed=True,
)
"""KEYS: profile and recommendation ids of each, in the old shard. Returns fields, ids with scores, how long ids live (ms)."""

ADOPT: Final = Script(
    """
if redis.call('HGET', KEYS[1], 'm') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'm')
local n_fields = tonumber(ARGV[3])
for n = 4, 3 + n_fields, 2 do redis.call('HSET', KEYS[1], ARGV[n], ARGV[n + 1]) end
for n = 4 + n_fields, #ARGV - 2, 2 do redis.call('ZADD', KEYS[2], ARGV[n + 1], ARGV[n]) end
if tonumber(ARGV[2]) > 0 then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
return 1
""",
    placed=True,
)
"""KEYS: profile, recommendation ids in the new shard. ARGV: claim, time to live, number of field values, fields, ids with
scores. Returns whether the claim held."""

DRAINED: Final = Script("""
local group, cut = ARGV[1], ARGV[2]
if redis.call('EXISTS', KEYS[1]) == 0 then return 1 end
local reached = '0-0'
for _, facts in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local one = {}
  for n = 1, #facts, 2 do one[facts[n]] = facts[n + 1] end
  if one['name'] == group then
    reached = one['last-delivered-id']
    if #redis.call('XPENDING', KEYS[1], group, '-', cut, 1) > 0 then return 0 end
  end
end
if cut == '0-0' then return 1 end
return #redis.call('XRANGE', KEYS[1], '(' .. reached, cut, 'COUNT', 1) == 0 and 1 or 0
""")
"""KEYS: log. ARGV: group, position. Returns whether the group has finished all up to it."""

JOIN: Final = Script("redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0-0', 'MKSTREAM') return 1")
"""KEYS: log. ARGV: group. Makes the group at the log's start where there is none."""

ALL: Final = (ADVANCE, CHANGE, ANY, CLAIM, LEAVING, ADOPT, DRAINED, JOIN)
