"""The Lua of versions that a background process publishes (`redis_versions`); one key, so one shard."""

from typing import Final

from recray.stores.scripts import Script

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

ALL: Final = (PUBLISH, RESUME)
