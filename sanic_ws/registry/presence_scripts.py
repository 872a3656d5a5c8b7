"""What Redis holds of those who have left and may come back, and the scripts that end their absence.

Keys::

    <prefix>:leaving                who may be gone → when that is due, microseconds     sorted set
    <prefix>:grace                  seconds, while a node wants to know who is gone        string
    <prefix>:cleared:{id}:{expiry}  who clears up what a dead node holds, or ``done``      string

An absent connection's entry has no node, and in place of the session a mark: ``node/session`` of who left,
with ``?`` behind it if its node has not said so itself. Its line in the user's list has the same. Both are
taken back by the next claim. When the absence ends the entry becomes ``-`` and an emptied list an empty
string, for a while or as long as the binding: whoever comes back later finds that it was called gone, and
not lost. A member of ``leaving`` is ``conn ␟ mark ␟ user's key``. It is put off while its absence is ended,
and removed after it, so that a node that dies in between loses nothing.
"""

from __future__ import annotations

from sanic_ws.registry.scripts import Script

__all__ = ["DUE", "END_CONN", "END_USER", "LEAVING"]

LEAVING = Script("""
-- KEYS: leaving. ARGV: grace in microseconds, members.
local now = redis.call('TIME')
local due = string.format('%.0f', now[1] * 1000000 + now[2] + ARGV[1])
for at = 2, #ARGV do redis.call('ZADD', KEYS[1], due, ARGV[at]) end
""")

DUE = Script("""
-- KEYS: leaving. ARGV: most, for how many microseconds they are put off. Returns members.
local now = redis.call('TIME')
local time = now[1] * 1000000 + now[2]
local due = redis.call('ZRANGE', KEYS[1], '-inf', string.format('%.0f', time), 'BYSCORE', 'LIMIT', 0, ARGV[1])
local later = string.format('%.0f', time + ARGV[2])
for _, member in ipairs(due) do redis.call('ZADD', KEYS[1], later, member) end
return due
""")

END_CONN = Script("""
-- KEYS: conn. ARGV: mark, for how many seconds it is remembered.
-- Returns the identity if the connection was absent so, otherwise nothing.
local had = redis.call('GET', KEYS[1])
if not had then return false end
local node, mark, generation, identity, rest =
  string.match(had, '^([^\\31]*)\\31([^\\31]*)\\31(%d+)\\31([^\\31]*)(.*)$')
if node ~= '' or mark ~= ARGV[1] then return false end
local entry = table.concat({'', '-', generation, identity}, '\\31') .. rest
if identity ~= '' or rest ~= '' then redis.call('SET', KEYS[1], entry, 'KEEPTTL')
else redis.call('SET', KEYS[1], entry, 'EX', ARGV[2]) end
return identity
""")

END_USER = Script("""
-- KEYS: user. ARGV: conn, mark, for how many seconds it is remembered, node and session if they are gone.
-- Returns 1 if it was the user's last connection.
local had = redis.call('GET', KEYS[1])
if not had then return 0 end
local lines, found = {}, 0
local absent = table.concat({ARGV[1], '', ARGV[2], ''}, '\\31')
local held = ARGV[4] ~= '' and table.concat({ARGV[1], ARGV[4], ARGV[5], ''}, '\\31') or absent
for line in string.gmatch(had, '[^\\n]+') do
  if string.sub(line, 1, #absent) == absent or string.sub(line, 1, #held) == held then found = 1
  else table.insert(lines, line) end
end
if found == 0 then return 0 end
if #lines > 0 then
  redis.call('SET', KEYS[1], table.concat(lines, '\\n'), 'KEEPTTL')
  return 0
end
redis.call('SET', KEYS[1], '', 'EX', ARGV[3])
return 1
""")
