//! Rate limits counted for all processes: one script per call, by the server's clock, so that the clocks of processes
//! need not agree.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::Script;

use super::{RedisServer, link::Trouble};
use crate::{Claim, Lease, LimitError, Quota, RateLimits, Refused};

// GCRA as in `cache::limits`, in microseconds, which a Lua number holds exactly until the year 2255. A key at rest is
// not stored: it expires at its arrival time.
const LEASE: &str = "
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local interval, tolerance, calls = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
    local at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
    local granted = math.min(calls, math.floor((tolerance - (at - now)) / interval))
    if granted < 1 then return {0, at - now} end
    local after = at + granted * interval
    redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
    return {granted, at - now}";

// Three arguments per key: interval, tolerance, and whether it counts. Returns the number of the first key that refuses
// and the time until it allows, or 0; only then anything is written.
const TAKE_ALL: &str = "
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local after = {}
    for i, key in ipairs(KEYS) do
        local interval, tolerance = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
        local at = math.max(tonumber(redis.call('GET', key) or now), now)
        after[i] = at + interval
        local over = after[i] - now - tolerance
        if over > 0 then return {i, over} end
    end
    for i, key in ipairs(KEYS) do
        if ARGV[3 * i] == '1' then
            redis.call('SET', key, string.format('%.0f', after[i]), 'PX', math.ceil((after[i] - now) / 1000))
        end
    end
    return {0, 0}";

// One argument per key: the interval.
const GIVE_BACK: &str = "
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    for i, key in ipairs(KEYS) do
        local at = tonumber(redis.call('GET', key) or now) - tonumber(ARGV[i])
        if at > now then
            redis.call('SET', key, string.format('%.0f', at), 'PX', math.ceil((at - now) / 1000))
        else
            redis.call('DEL', key)
        end
    end
    return 0";

/// [`RateLimits`] on a server. Clones share it.
#[derive(Clone)]
pub struct RedisLimits {
    server: RedisServer,
    scripts: Arc<Scripts>,
}

struct Scripts {
    lease: Script,
    take_all: Script,
    give_back: Script,
}

impl RedisLimits {
    /// Counts over the shared connection of `server`.
    pub fn new(server: RedisServer) -> Self {
        let [lease, take_all, give_back] = [LEASE, TAKE_ALL, GIVE_BACK].map(Script::new);
        Self { server, scripts: Arc::new(Scripts { lease, take_all, give_back }) }
    }

    fn key(&self, key: &str) -> String {
        self.server.key("l", key)
    }
}

/// The quota in whole microseconds, as the server counts: or both sides would disagree about the last call of a burst.
/// Rounded up, as a shorter interval would be a higher rate.
fn rounded(quota: &Quota) -> Quota {
    Quota { interval: Duration::from_micros(micros(quota.interval)), burst: quota.burst }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
}

fn failed(trouble: Trouble) -> LimitError {
    LimitError { detail: trouble.detail }
}

#[async_trait]
impl RateLimits for RedisLimits {
    async fn lease(&self, key: &str, quota: &Quota, calls: u32) -> Result<Lease, LimitError> {
        let (quota, calls) = (rounded(quota), calls.max(1));
        let mut lease = self.scripts.lease.prepare_invoke();
        lease.key(self.key(key)).arg(micros(quota.interval)).arg(micros(quota.tolerance())).arg(calls);
        let (_, ahead) = self.server.link.run::<(u32, u64)>(&lease).await.map_err(failed)?;
        Ok(Lease::of(&quota, Duration::from_micros(ahead), calls).0)
    }

    async fn take_all(&self, claims: &[Claim]) -> Result<Option<Refused>, LimitError> {
        if claims.is_empty() {
            return Ok(None);
        }
        let mut take = self.scripts.take_all.prepare_invoke();
        for Claim { key, quota, counts } in claims {
            let quota = rounded(quota);
            let tolerance = micros(quota.tolerance());
            take.key(self.key(key)).arg(micros(quota.interval)).arg(tolerance).arg(u8::from(*counts));
        }
        let (number, over) = self.server.link.run::<(usize, u64)>(&take).await.map_err(failed)?;
        let retry_after = Duration::from_micros(over);
        Ok(number.checked_sub(1).map(|claim| Refused { claim, retry_after }))
    }

    async fn give_back(&self, claims: &[Claim]) -> Result<(), LimitError> {
        if claims.is_empty() {
            return Ok(());
        }
        let mut give = self.scripts.give_back.prepare_invoke();
        for Claim { key, quota, .. } in claims {
            give.key(self.key(key)).arg(micros(quota.interval));
        }
        self.server.link.run::<i64>(&give).await.map_err(failed)?;
        Ok(())
    }

    async fn reset(&self, key: &str) -> Result<(), LimitError> {
        let mut delete = redis::cmd("DEL");
        delete.arg(self.key(key));
        self.server.link.ask::<i64>(&delete).await.map_err(failed)?;
        Ok(())
    }
}
