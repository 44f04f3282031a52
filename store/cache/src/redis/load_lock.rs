//! Lock of a load: the right of one process to load a value for all, a key in Redis with its owner's token.
//!
//! Guarantees: it ends by itself after [`HOLD`], so that a process that dies or hangs while it loads holds up the
//! others no longer; a former owner never frees the lock of the next, as only the token that is stored frees it; a load
//! that fails or is cancelled frees it at once. The lock saves work and decides nothing: whether a loaded value is
//! stored depends on the generation of its key, see [`super::levels`].

use std::{sync::Arc, time::Duration};

use redis::Script;
use tokio::runtime::Handle;

use super::RedisServer;

/// Lifetime of a lock: longer than most loads take. While a load takes longer, another process begins one as well.
pub(super) const HOLD: Duration = Duration::from_secs(2);

/// Frees the lock if it is this owner's.
const FREE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end";

/// A lock that this process holds or has asked for; freed when it is dropped.
pub(super) struct LoadLock {
    server: RedisServer,
    key: String,
    token: Arc<str>,
    may_be_held: bool,
}

impl LoadLock {
    /// The lock of this key, which the server is asked to give to this token.
    pub(super) fn new(server: RedisServer, key: String, token: Arc<str>) -> Self {
        Self { server, key, token, may_be_held: true }
    }

    /// What the server knows the owner by.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// The server did not give it to this token, or has freed it.
    pub(super) fn not_held(mut self) {
        self.may_be_held = false;
    }
}

impl Drop for LoadLock {
    fn drop(&mut self) {
        // Without a runtime the process ends, and the lock by itself.
        let Some(runtime) = self.may_be_held.then(|| Handle::try_current().ok()).flatten() else { return };
        let (server, token) = (self.server.clone(), Arc::clone(&self.token));
        let key = std::mem::take(&mut self.key);
        runtime.spawn(async move {
            let script = Script::new(FREE);
            let mut free = script.prepare_invoke();
            free.key(key).arg(&*token);
            // During an outage, which the link has logged, the lock ends by itself.
            drop(server.link.run::<()>(&free).await);
        });
    }
}
