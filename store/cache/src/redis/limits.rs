//! Rate limits counted for all processes: one script per call, by the server's clock, so that the clocks of processes
//! need not agree.

use std::time::Duration;

use async_trait::async_trait;
use redis::Script;

use super::RedisServer;
use crate::{Decision, LimitError, Quota, RateLimits};

// GCRA as in `cache::limits`, in microseconds, which a Lua number holds exactly until the year 2255. A key at rest is
// not stored: it expires at its arrival time.
const CHECK: &str = "
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local interval, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2])
    local at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
    local ahead = at + interval - now
    if ahead > tolerance then return {0, at - now} end
    redis.call('SET', KEYS[1], string.format('%.0f', at + interval), 'PX', math.ceil(ahead / 1000))
    return {1, at - now}";

/// [`RateLimits`] on a server. Clones share it.
#[derive(Clone)]
pub struct RedisLimits {
    server: RedisServer,
    check: std::sync::Arc<Script>,
}

impl RedisLimits {
    /// Counts over the shared connection of `server`.
    pub fn new(server: RedisServer) -> Self {
        Self { server, check: std::sync::Arc::new(Script::new(CHECK)) }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[async_trait]
impl RateLimits for RedisLimits {
    async fn check(&self, key: &str, quota: &Quota) -> Result<Decision, LimitError> {
        // Both sides use whole microseconds, or they would disagree about the last call of a burst.
        let quota = Quota { interval: Duration::from_micros(micros(quota.interval)), burst: quota.burst };
        let mut check = self.check.prepare_invoke();
        check.key(self.server.key("l", key)).arg(micros(quota.interval)).arg(micros(quota.tolerance()));
        let answer = self.server.link.run::<(bool, u64)>(&check).await;
        let (_, ahead) = answer.map_err(|trouble| LimitError { detail: trouble.detail })?;
        Ok(Decision::of(&quota, Duration::from_micros(ahead)).0)
    }
}
