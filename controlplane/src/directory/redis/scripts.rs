//! The atomic steps, in Lua. Each touches only the keys that it is given.
//!
//! A claim is kept as `node nonce silent`, separated by spaces, which a node's name has none of. Whatever else is found there
//! counts as no claim.

use redis::Script;

/// The field of a state that tells whose life it is. Other fields have a slash in them.
pub(super) const INCARNATION: &str = "incarnation";

/// Milliseconds of Redis' own clock: those of the nodes don't matter.
const NOW: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
";

/// Who holds a claim.
const HOLDER: &str = "
local function holder(claim)
  if not claim then return nil end
  local node, nonce, silent = string.match(claim, '^(%S+) (%x+) ([01])$')
  return node, nonce, silent
end
";

const PUT_TOKEN: &str = "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])";
const CREATE_ROOM: &str = "return redis.call('SADD', KEYS[1], ARGV[1])";
const DELETE_ROOM: &str = "redis.call('SREM', KEYS[1], ARGV[1])";
const HAS_ROOM: &str = "return redis.call('SISMEMBER', KEYS[1], ARGV[1])";
const TOKEN: &str = "return redis.call('GET', KEYS[1])";

// Numbers of changes begin at the time: they grow even when Redis has forgotten the last one.
// KEYS: nodes, about, state, sequences. ARGV: node, incarnation, owner, about, lease, time to live of the state.
const ENTER: &str = "
local lease = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
local before = redis.call('HGET', KEYS[2], ARGV[1])
if lease > now and before then
  local ok, about = pcall(cjson.decode, before)
  if ok and type(about) == 'table' and about.owner ~= ARGV[3] and about.incarnation ~= ARGV[2]
    and about.handed_over ~= true then
    return lease
  end
end
redis.call('ZADD', KEYS[1], now + ARGV[5], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
redis.call('HSET', KEYS[3], 'incarnation', ARGV[2])
redis.call('PEXPIRE', KEYS[3], ARGV[6])
local last = tonumber(redis.call('HGET', KEYS[4], ARGV[1]) or 0)
redis.call('HSET', KEYS[4], ARGV[1], string.format('%d', math.max(now, last + 2)))
return 0
";

// KEYS: nodes, about, state, sequences. ARGV: node, incarnation, about, lease, time to live of the state.
const RENEW: &str = "
local own = redis.call('HGET', KEYS[3], 'incarnation')
if own and own ~= ARGV[2] then return {'replaced'} end
local lease = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
if not own or lease <= now then return {'lapsed'} end
redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[5])
local told = {'renewed', string.format('%d', now)}
local nodes = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #nodes, 2 do
  told[#told + 1] = nodes[i]
  told[#told + 1] = string.format('%d', tonumber(nodes[i + 1]))
  told[#told + 1] = redis.call('HGET', KEYS[2], nodes[i]) or ''
  told[#told + 1] = redis.call('HGET', KEYS[4], nodes[i]) or '0'
end
return told
";

// KEYS: nodes, state. ARGV: node, incarnation.
const LEAVE: &str = "
if redis.call('HGET', KEYS[2], 'incarnation') == ARGV[2] then
  redis.call('ZADD', KEYS[1], 0, ARGV[1])
end
";

// KEYS: nodes, about, state, sequences, claims, held. ARGV: node, channel, names in one step, node as JSON.
const REAP: &str = "
local lease = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or -1)
if lease < 0 or lease > now then return 1 end
local names = redis.call('SPOP', KEYS[6], ARGV[3])
for _, name in ipairs(names) do
  if holder(redis.call('HGET', KEYS[5], name)) == ARGV[1] then redis.call('HDEL', KEYS[5], name) end
end
if redis.call('SCARD', KEYS[6]) > 0 then return 0 end
local incarnation = redis.call('HGET', KEYS[3], 'incarnation') or ''
redis.call('DEL', KEYS[3])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('PUBLISH', ARGV[2],
  '{\"gone\":{\"member\":{\"node\":' .. ARGV[4] .. ',\"incarnation\":' .. cjson.encode(incarnation) .. '}}}')
return 1
";

// KEYS: claims, held, nodes. ARGV: node, name, nonce, silent, whether for a newcomer, channel.
const CLAIM: &str = "
local node, nonce, silent = holder(redis.call('HGET', KEYS[1], ARGV[2]))
if node == ARGV[1] then
  if ARGV[5] == '1' and nonce ~= ARGV[3] then return 'own' end
elseif node then
  local lease = tonumber(redis.call('ZSCORE', KEYS[3], node) or 0)
  if lease > now then
    if silent == '0' or ARGV[5] == '0' then return 'taken ' .. node end
    redis.call('PUBLISH', ARGV[6],
      '{\"evict\":{\"node\":' .. cjson.encode(node) .. ',\"nonce\":\"' .. nonce .. '\"}}')
  end
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[1] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
redis.call('SADD', KEYS[2], ARGV[2])
return 'yes'
";

// KEYS: claims, held. ARGV: node, name, nonce.
const RELEASE: &str = "
local node, nonce = holder(redis.call('HGET', KEYS[1], ARGV[2]))
if node == ARGV[1] and nonce == ARGV[3] then
  redis.call('HDEL', KEYS[1], ARGV[2])
  redis.call('SREM', KEYS[2], ARGV[2])
elseif node ~= ARGV[1] then
  redis.call('SREM', KEYS[2], ARGV[2])
end
";

// KEYS: claims. ARGV: node, name, nonce, silent.
const SILENT: &str = "
local node, nonce = holder(redis.call('HGET', KEYS[1], ARGV[2]))
if node == ARGV[1] and nonce == ARGV[3] then
  redis.call('HSET', KEYS[1], ARGV[2], node .. ' ' .. nonce .. ' ' .. ARGV[4])
end
";

// KEYS: claims, held. ARGV: node.
const CLAIMS: &str = "
local told = {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local node, nonce = holder(redis.call('HGET', KEYS[1], name))
  if node == ARGV[1] then
    told[#told + 1] = name
    told[#told + 1] = nonce
  end
end
return told
";

// KEYS: state, sequences. ARGV: node, incarnation, channel, member and fields as JSON, then fields and values; '': gone.
const CHANGE: &str = "
if redis.call('HGET', KEYS[1], 'incarnation') ~= ARGV[2] then return 0 end
for i = 6, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
local sequence = redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
redis.call('PUBLISH', ARGV[3], '{\"change\":{\"member\":' .. ARGV[4] .. ',\"sequence\":'
  .. string.format('%d', sequence) .. ',\"fields\":' .. ARGV[5] .. '}}')
return 1
";

// KEYS: state, sequences. ARGV: node.
const READ: &str = "
local told = redis.call('HGETALL', KEYS[1])
if #told == 0 then return {} end
table.insert(told, 1, redis.call('HGET', KEYS[2], ARGV[1]) or '0')
return told
";

// KEYS: any. ARGV: channel, message.
const TELL: &str = "redis.call('PUBLISH', ARGV[1], ARGV[2])";

/// One for each step.
pub(super) struct Scripts {
    pub(super) put_token: Script,
    pub(super) token: Script,
    pub(super) enter: Script,
    pub(super) renew: Script,
    pub(super) leave: Script,
    pub(super) reap: Script,
    pub(super) claim: Script,
    pub(super) release: Script,
    pub(super) silent: Script,
    pub(super) claims: Script,
    pub(super) change: Script,
    pub(super) read: Script,
    pub(super) tell: Script,
    pub(super) create_room: Script,
    pub(super) delete_room: Script,
    pub(super) has_room: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        let script = |parts: &[&str]| Script::new(&parts.concat());
        Self {
            put_token: script(&[PUT_TOKEN]),
            token: script(&[TOKEN]),
            enter: script(&[NOW, ENTER]),
            renew: script(&[NOW, RENEW]),
            leave: script(&[LEAVE]),
            reap: script(&[NOW, HOLDER, REAP]),
            claim: script(&[NOW, HOLDER, CLAIM]),
            release: script(&[HOLDER, RELEASE]),
            silent: script(&[HOLDER, SILENT]),
            claims: script(&[HOLDER, CLAIMS]),
            change: script(&[CHANGE]),
            read: script(&[READ]),
            tell: script(&[TELL]),
            create_room: script(&[CREATE_ROOM]),
            delete_room: script(&[DELETE_ROOM]),
            has_room: script(&[HAS_ROOM]),
        }
    }
}
