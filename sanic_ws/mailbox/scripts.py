"""What Redis holds of mailboxes, and the script that fills them.

Keys; a script touches one of them, each mailbox has its own hash tag::

    <prefix>:mail:{box}          letters                                                stream
    <prefix>:mailed:{box}:id     a letter with this id may be in the mailbox            string

``box`` is ``@`` and a user's key, or a connection's id. A letter's fields stand in this order:
``i`` its push id, ``p`` the push id of the letter before it, ``q`` that one's entry id, ``b`` the bytes of
all payloads that were ever stored up to its own, ``x`` when it expires (Redis's clock, ms), ``o`` whom it is
for, ``f`` its payload. The same fields in the same order cost a stream next to nothing. The stream expires
with the letter that lives longest.

A copy of a letter is looked for only where its id was seen before (``mailed``), which hardly ever happens:
whoever looks reads all letters.
"""

from __future__ import annotations

from sanic_ws.registry.scripts import Script

STORE = Script(
    """
-- KEYS: mail. ARGV: push id, payload, for whom, ttl in ms, most letters, most bytes, whether to look at all.
-- Returns {entry id, entry id before, push id before}.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if ARGV[7] == '1' then
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-')) do
    if entry[2][2] == ARGV[1] then return {entry[1], entry[2][6], entry[2][4]} end
  end
end
local before, id_before, octets = '', '', 0
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last then before, id_before, octets = last[1], last[2][2], tonumber(last[2][8]) end
octets = octets + #ARGV[2]
local ttl = tonumber(ARGV[4])
local place = redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[5], '*', 'i', ARGV[1], 'p', id_before, 'q', before,
  'b', string.format('%.0f', octets), 'x', string.format('%.0f', now + ttl), 'o', ARGV[3], 'f', ARGV[2])
while true do
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  local held = octets - tonumber(first[2][8]) + #first[2][14]
  if first[1] == place or (held <= tonumber(ARGV[6]) and tonumber(first[2][10]) > now) then break end
  redis.call('XDEL', KEYS[1], first[1])
end
if redis.call('PTTL', KEYS[1]) < ttl then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return {place, before, id_before}
""",
    repeatable=False,
)

NEWEST = Script(
    """
-- KEYS: mail. Returns the entry id of the newest letter, without what is in it.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
return last and last[1]
""",
)
