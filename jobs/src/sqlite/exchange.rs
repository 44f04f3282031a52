//! The exchange of a consumer with the file, one transaction: heartbeat, settlements, claim.
//!
//! One transaction instead of three reduces the commits, and frees and fills slots at the same moment.

use sqlx::SqliteConnection;

use super::{
    claim::{self, Claim},
    fault::SqliteFault,
    lease,
    settle::{self, Settled},
};

pub(super) struct Exchange {
    pub(super) name: String,
    pub(super) process: String,
    pub(super) queue: String,
    pub(super) session: i64,
    pub(super) now: i64,
    pub(super) lease_until: i64,
    /// With the sessions of this handle, as JSON, when the leases are to be renewed, and cancel requests and expired
    /// leases to be looked for.
    pub(super) heartbeat: Option<String>,
    /// The held deliveries, as JSON, when the file may know of others; see [`lease::keep_only`].
    pub(super) held: Option<String>,
    pub(super) settled: Vec<Settled>,
    /// Jobs to claim at most.
    pub(super) free: usize,
    /// Jobs claimed by this consumer before.
    pub(super) starts: u64,
}

pub(super) struct Exchanged {
    /// Session of the consumer; a new one when the lease was lost.
    pub(super) session: i64,
    /// Settlements without effect.
    pub(super) stale: u64,
    pub(super) cancel_requests: Vec<i64>,
    /// Jobs released from consumers whose lease has expired.
    pub(super) released: u64,
    /// `None` unless jobs were asked for.
    pub(super) claim: Option<Claim>,
}

impl Exchange {
    pub(super) async fn run(&self, c: &mut SqliteConnection) -> Result<Exchanged, SqliteFault> {
        let mut session = self.session;
        let alive = if self.heartbeat.is_some() {
            lease::renew(c, session, self.lease_until).await?
        } else {
            lease::holds(c, session).await?
        };
        if !alive {
            session = lease::open(c, &self.name, &self.queue, &self.process, self.lease_until).await?;
        }
        if let Some(held) = &self.held {
            lease::keep_only(c, &self.queue, session, held, self.now).await?;
        }
        let applied =
            if self.settled.is_empty() { 0 } else { settle::apply(c, &self.settled, self.now).await? };
        let (mut cancel_requests, mut released) = (Vec::new(), 0);
        if let Some(sessions) = &self.heartbeat {
            lease::extend(c, sessions, self.lease_until).await?;
            cancel_requests = lease::cancel_requests(c, session).await?;
            released = lease::release_expired(c, self.now).await?;
        }
        let claim = if self.free > 0 {
            Some(
                claim::claim(
                    c,
                    &self.queue,
                    (session, self.process.as_str()),
                    self.now,
                    self.free,
                    self.starts,
                )
                .await?,
            )
        } else {
            None
        };
        let stale = (self.settled.len() as u64).saturating_sub(applied);
        Ok(Exchanged { session, stale, cancel_requests, released, claim })
    }
}
