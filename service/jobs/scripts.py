"""The steps of a job's life as Lua scripts: each happens wholly or not at all, by the clock of Redis.

A job is a hash (`status`, `ask`, `reply`, `owner`, `format`, `attempts`, `token`) and a list of events. `due` is one
sorted set of all jobs that are not over, by the time from which they may be taken up: since they were made, or when the
lease of the runner that has them runs out. Only what is over has a time to live: a server short of memory, told to
evict what has one (`volatile-lru`), keeps every job that somebody waits for.
"""

PREFIX = "mull:job:"
DUE = "mull:jobs:due"

FORMAT = "1"
"""Raised whenever older gateways could not do what newer ones have kept, or the other way round."""

_NOW = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
"""
_HELD = "redis.call('HGET', job, 'token') == token and redis.call('HGET', job, 'status') == 'in_progress'"

CREATE = (
    _NOW
    + f"""
local due, job, events = KEYS[1], KEYS[2], KEYS[3]
local id, most = ARGV[1], tonumber(ARGV[2])
if redis.call('ZCARD', due) >= most then return 0 end
redis.call('HSET', job, 'status', 'queued', 'format', '{FORMAT}', 'attempts', 0)
redis.call('HSET', job, 'ask', ARGV[3], 'reply', ARGV[4], 'owner', ARGV[5])
for i = 6, #ARGV do redis.call('RPUSH', events, ARGV[i]) end
redis.call('ZADD', due, now, id)
return 1
"""
)
"""Return 0, and make nothing, where `most` jobs are not over yet."""

TAKE = (
    _NOW
    + f"""
local due, token, lease = KEYS[1], ARGV[1], tonumber(ARGV[2])
while true do
  local found = redis.call('ZRANGE', due, '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)
  if #found == 0 then return false end
  local id = found[1]
  local job = '{PREFIX}' .. id
  local status = redis.call('HGET', job, 'status')
  if status == 'queued' or status == 'in_progress' then
    local attempts = redis.call('HINCRBY', job, 'attempts', 1)
    redis.call('HSET', job, 'status', 'in_progress', 'token', token)
    redis.call('ZADD', due, now + lease, id)
    local kept = redis.call('HMGET', job, 'ask', 'reply', 'owner', 'format')
    return {{id, kept[1], kept[2], kept[3], kept[4] or '{FORMAT}', attempts}}
  end
  redis.call('ZREM', due, id)
end
"""
)
"""Return the job that has been due for longest, leased to the holder of `token`; false where none is."""

RENEW = (
    _NOW
    + f"""
local due, lease = KEYS[1], tonumber(ARGV[1])
local lost = {{}}
for i = 2, #ARGV, 2 do
  local id, token = ARGV[i], ARGV[i + 1]
  local job = '{PREFIX}' .. id
  if {_HELD} then redis.call('ZADD', due, now + lease, id) else lost[#lost + 1] = id end
end
return lost
"""
)
"""Return the jobs that are the holder's no more: cancelled, deleted, or taken up by another one."""

RELEASE = (
    _NOW
    + f"""
local due, job, id, token = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
if not ({_HELD}) then return 0 end
redis.call('HINCRBY', job, 'attempts', 0 - tonumber(ARGV[4]))
redis.call('HDEL', job, 'token')
redis.call('ZADD', due, now + tonumber(ARGV[3]), id)
return 1
"""
)
"""Give a job back, due again after some seconds."""

COUNT = (
    _NOW
    + """
return {redis.call('ZCOUNT', KEYS[1], '-inf', now), redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf')}
"""
)
"""Return how many jobs are due, and how many are not: somebody has them, or will after a pause."""

NOTE = f"""
local job, events, token, most = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
if not ({_HELD}) then return 0 end
if redis.call('LLEN', events) + #ARGV - 2 > most then return 0 end
for i = 3, #ARGV do redis.call('RPUSH', events, ARGV[i]) end
return 1
"""

_END = """
redis.call('HDEL', job, 'ask', 'token')
redis.call('ZREM', due, id)
for i = 6, #ARGV do redis.call('RPUSH', events, ARGV[i]) end
redis.call('EXPIRE', job, ARGV[5])
redis.call('EXPIRE', events, ARGV[5])
return 1
"""

FINISH = (
    f"""
local due, job, events, id, token = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
if not ({_HELD}) then return 0 end
redis.call('HSET', job, 'status', ARGV[3], 'reply', ARGV[4])
"""
    + _END
)
"""Write the one outcome: only by the holder of the lease, and only of a job that is not over."""

CANCEL = (
    """
local due, job, events, id = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local status = redis.call('HGET', job, 'status')
if status ~= 'queued' and status ~= 'in_progress' then return 0 end
redis.call('HSET', job, 'status', ARGV[3], 'reply', ARGV[4])
"""
    + _END
)
"""End a job whoever has it; its runner is told at its next renewal. The arguments are those of FINISH."""
