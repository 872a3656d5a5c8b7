"""What Redis (7.0 or newer) holds, and the scripts that change it.

Keys; every script touches one of them, every entity has its own hash tag::

    <prefix>:conn:{id}      node ␟ session ␟ generation ␟ identity       string
                            and, if it has joined groups, ␟ until ␟ these
    <prefix>:user:{user}    conn ␟ node ␟ session ␟ fromType, one a line    string
    <prefix>:group:{group}  node ␟ turn ␟ expiry, one a line               string
    <prefix>:nodes          node → expiry                                  sorted set
    <prefix>:node:{id}      what the node is and holds, JSON               string
    <prefix>:once:{digest}  the receipt of a push that has an id, JSON    string
    <prefix>:whole          ``whole``; missing or else: nodes assert anew     string
    <prefix>:leaving, <prefix>:grace, <prefix>:cleared:{id}:…     see `presence_scripts`

Strings, so that one MGET looks up a whole round. ``␟`` is U+001F, which no id holds: ids are escaped.
``node`` is empty where only the binding is left, and then ``session`` says whether the connection is absent
(``node/session`` of who left) or gone (``-``). An owner's entry has no lease of its own: it is worth
as much as its node's lease (``nodes``), which the node's heartbeat renews, so that a million idle
connections cost Redis nothing. What a dead node leaves in a user's list goes when a push meets it, or
when the list is full. A group has a line for each node with members, so that a push costs no more messages
than that; a node asserts its lines as it does its connections, and one that is not listed in ``nodes`` is not
believed. A connection's groups stay with its entry for whoever comes back under its id, ``until`` Redis's
clock says that it is too late. Generations are Redis's own clock, see `GENERATION_EPOCH_S`. Values are kept
short: up to 44 bytes Redis needs one allocation for them.

A claim that says when its session began, and is read later than `LATE_S` after that, has been on its way
for too long: it is not newer than sessions that began after it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from sanic_ws.registry.port import GENERATIONS_PER_S, LATE_S

__all__ = ["BEAT", "CLAIM", "DELIST", "ENLIST", "MARK", "RELEASE", "Script"]


@dataclass(frozen=True, slots=True)
class Script:
    """Hold a script and the digest that Redis knows it by.

    Attributes:
        repeatable: whether it may be run twice, as it is where a connection breaks.
    """

    text: str
    repeatable: bool = True
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)

    def call(self, key: str, *arguments: Any) -> tuple[str, tuple[Any, ...]]:
        """Return the key and the command that runs this script on it."""
        return key, ("EVALSHA", self.digest, 1, key, *arguments)


CLAIM = Script(
    """
-- KEYS: conn. ARGV: node, session, generation, identity, binding_s, entry_s, began (0: now), groups.
-- Returns {accepted, generation, node before, session before, identity, missing, taken, groups,
-- appeared, whether the entry is bound to another user than before}.
local node, session, generation, identity = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local had = redis.call('GET', KEYS[1])
local node_before, session_before, generation_before, identity_before, rest = '', '', 0, '', ''
if had then
  node_before, session_before, generation_before, identity_before, rest =
    string.match(had, '^([^\\31]*)\\31([^\\31]*)\\31(%d+)\\31([^\\31]*)(.*)$')
  generation_before = tonumber(generation_before)
end
local same = node_before == node and session_before == session
if generation == 0 and not same and identity ~= '' and identity_before ~= '' and
    string.match(identity, '^[^;]*') ~= string.match(identity_before, '^[^;]*') then
  return {0, string.format('%.0f', generation_before), node_before, session_before, identity_before, 0, 1, '',
    0, 0}
end
if identity == '' then identity = identity_before end
local missing, appeared, bound = 0, 0, 0
if node_before == '' and (session_before == '-' or session_before == '' and generation == 0) then
  appeared = 1
end
if had and string.match(identity, '^[^;]*') ~= string.match(identity_before, '^[^;]*') then bound = 1 end
if not same then
  if generation > 0 and generation < generation_before and node_before ~= '' then
    return {0, string.format('%.0f', generation_before), node_before, session_before, identity, 0, 0, '',
  0, 0}
  end
  if generation > 0 then missing = 1 end
end
local groups = ARGV[8]
if generation == 0 and rest ~= '' then
  local ends, groups_before = string.match(rest, '^\\31(%d+)\\31(.*)$')
  if tonumber(redis.call('TIME')[1]) < tonumber(ends) then
    for group in string.gmatch(groups_before, '[^ ]+') do
      if not string.find(' ' .. groups .. ' ', ' ' .. group .. ' ', 1, true) then
        groups = groups .. ' ' .. group
      end
    end
  end
end
if generation == 0 then
  if same then generation = generation_before else
    local clock = redis.call('TIME')
    local now, began = (clock[1] - 1577836800) * 100 + math.floor(clock[2] / 10000), tonumber(ARGV[7])
    if began == 0 or now - began < LATE then began = now end
    if began < now and generation_before > began and node_before ~= '' then
      return {0, string.format('%.0f', generation_before), node_before, session_before, identity, 0, 0, '',
  0, 0}
    end
    generation = math.max(generation_before + 1, began)
  end
end
local ttl = ARGV[6]
if identity ~= '' then ttl = ARGV[5] end
local entry = {node, session, string.format('%.0f', generation), identity}
if groups ~= '' then
  table.insert(entry, string.format('%.0f', redis.call('TIME')[1] + ARGV[6]))
  table.insert(entry, groups)
end
redis.call('SET', KEYS[1], table.concat(entry, '\\31'), 'EX', ttl)
if same then node_before, session_before = '', '' end
return {1, string.format('%.0f', generation), node_before, session_before, identity, missing, 0, groups,
  appeared, bound}
""".replace("LATE", str(int(LATE_S * GENERATIONS_PER_S)))
)

ENLIST = Script("""
-- KEYS: user. ARGV: conn, node, session, fromType, most, binding_s.
-- Returns 2 if the user was known to have no connection, 1 if none was known, otherwise 0.
local had = redis.call('GET', KEYS[1])
local lines, own = {}, ARGV[1] .. '\\31'
for line in string.gmatch(had or '', '[^\\n]+') do
  if string.sub(line, 1, #own) ~= own then table.insert(lines, line) end
end
while #lines >= tonumber(ARGV[5]) do table.remove(lines, 1) end
table.insert(lines, table.concat({ARGV[1], ARGV[2], ARGV[3], ARGV[4]}, '\\31'))
redis.call('SET', KEYS[1], table.concat(lines, '\\n'), 'EX', ARGV[6])
if not had then return 1 elseif had == '' then return 2 else return 0 end
""")

RELEASE = Script("""
-- KEYS: conn. ARGV: node, session, binding_s, for how many seconds the groups are kept, the mark of an
-- absence (empty: none), entry_s.
local had = redis.call('GET', KEYS[1])
if not had then return 0 end
local node, session, generation, identity, rest =
  string.match(had, '^([^\\31]*)\\31([^\\31]*)\\31(%d+)\\31([^\\31]*)(.*)$')
if node ~= ARGV[1] or session ~= ARGV[2] then return 0 end
local entry, groups = {'', ARGV[5], generation, identity}, string.match(rest, '^\\31%d+\\31(.*)$')
local kept = groups and tonumber(ARGV[4]) > 0
if kept then
  table.insert(entry, string.format('%.0f', redis.call('TIME')[1] + ARGV[4]))
  table.insert(entry, groups)
end
if identity ~= '' then redis.call('SET', KEYS[1], table.concat(entry, '\\31'), 'EX', ARGV[3])
elseif kept then
  local ttl = tonumber(ARGV[4])
  if ARGV[5] ~= '' then ttl = math.max(ttl, tonumber(ARGV[6])) end
  redis.call('SET', KEYS[1], table.concat(entry, '\\31'), 'EX', ttl)
elseif ARGV[5] ~= '' then redis.call('SET', KEYS[1], table.concat(entry, '\\31'), 'EX', ARGV[6])
else redis.call('DEL', KEYS[1]) end
return 1
""")

DELIST = Script("""
-- KEYS: user. ARGV: conn, node, session, the mark of an absence (empty: none).
local had = redis.call('GET', KEYS[1])
if not had then return 0 end
local lines, found = {}, 0
local gone = table.concat({ARGV[1], ARGV[2], ARGV[3], ''}, '\\31')
for line in string.gmatch(had, '[^\\n]+') do
  if string.sub(line, 1, #gone) == gone then
    found = 1
    if ARGV[4] ~= '' then
      -- First: who is absent is the first to go when the list is full.
      table.insert(lines, 1, table.concat({ARGV[1], '', ARGV[4], string.sub(line, #gone + 1)}, '\\31'))
    end
  else table.insert(lines, line) end
end
if #lines == 0 then if found == 1 then redis.call('DEL', KEYS[1]) end
elseif found == 1 then redis.call('SET', KEYS[1], table.concat(lines, '\\n'), 'KEEPTTL') end
return found
""")

BEAT = Script("""
-- KEYS: nodes. ARGV: node, lease in microseconds, the expiry that the node's last beat got.
-- Returns {whether that was found and had not passed, whether there was one and it is lost, the new expiry}.
local now = redis.call('TIME')
local time = now[1] * 1000000 + now[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time - 3600 * 1000000)
local had = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or '')
local expiry = string.format('%.0f', time + ARGV[2])
redis.call('ZADD', KEYS[1], expiry, ARGV[1])
local same = had and string.format('%.0f', had) == ARGV[3]
return {same and had >= time and 1 or 0, ARGV[3] ~= '' and not same and 1 or 0, expiry}
""")

MARK = Script("""
-- KEYS: group. ARGV: node, turn, whether it has members ('1'), entry_s.
local now, lines = tonumber(redis.call('TIME')[1]), {}
for line in string.gmatch(redis.call('GET', KEYS[1]) or '', '[^\\n]+') do
  local node, turn, expiry = string.match(line, '^([^\\31]*)\\31(%d+)\\31(%d+)$')
  if node == ARGV[1] then
    if tonumber(turn) > tonumber(ARGV[2]) then return 0 end
  elseif tonumber(expiry) > now then table.insert(lines, line) end
end
if ARGV[3] == '1' then
  table.insert(lines, table.concat({ARGV[1], ARGV[2], string.format('%.0f', now + ARGV[4])}, '\\31'))
end
if #lines == 0 then redis.call('DEL', KEYS[1])
else redis.call('SET', KEYS[1], table.concat(lines, '\\n'), 'EX', ARGV[4]) end
return 1
""")
