"""The Lua of the event log's consumer groups, and of what may be trimmed behind them."""

from typing import Final

from recray.stores.scripts import Script

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
local group, member, limit, what = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local found = {}
local function add(entries)
  for _, entry in ipairs(entries) do
    local values = entry[2] or {'', '', '', ''}
    found[#found + 1] = {entry[1], values[4] or '', values[2] or ''}
  end
end
if what ~= 'again' then
  add(redis.call('XAUTOCLAIM', KEYS[1], group, member, ARGV[4], '0-0', 'COUNT', limit)[2])
end
if what ~= 'left' then
  local from = what == 'again' and '0' or '>'
  local read = redis.call('XREADGROUP', 'GROUP', group, member, 'COUNT', limit, 'STREAMS', KEYS[1], from)
  if read then add(read[1][2]) end
end
return found
""")
"""KEYS: log. ARGV: group, member, limit, claim time in ms, and what: `again` (its own once more), `left` (what idle members
left), `fresh` (that and what is new). Returns position, entry, digest of each."""

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

DISBAND: Final = Script("return redis.call('EXISTS', KEYS[1]) == 1 and redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) or 0")
"""KEYS: log. ARGV: group. Returns whether there was one."""

ALL: Final = (TRIM, BEGIN, TAKE, HELD, RETRY, FINISH, LAG, DISBAND)
