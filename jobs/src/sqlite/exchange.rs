//! What a consumer says to the file in one transaction: I live, these are my outcomes, give me more.
//!
//! One unit instead of three halves the commits, and frees slots and fills them at the same moment.

use sqlx::SqliteConnection;

use super::{
    claim::{self, Claim},
    fault::QueueFault,
    lease,
    settle::{self, Settled},
};

/// What to do.
#[derive(Clone)]
pub(super) struct Exchange {
    pub(super) name: String,
    pub(super) queue: String,
    pub(super) session: i64,
    pub(super) now: i64,
    pub(super) lease_until: i64,
    /// Renew the lease, look for cancellations and for silent consumers.
    pub(super) heartbeat: bool,
    /// The sequences held, as JSON, when it is in doubt what the file believes, see [`lease::keep_only`].
    pub(super) held: Option<String>,
    pub(super) settled: Vec<Settled>,
    /// Slots to fill.
    pub(super) free: usize,
}

/// What came of it.
pub(super) struct Exchanged {
    /// Another than before when the lease was lost.
    pub(super) session: i64,
    /// Outcomes without effect.
    pub(super) stale: u64,
    pub(super) cancel_requests: Vec<i64>,
    /// Jobs taken from silent consumers.
    pub(super) rescued: u64,
    pub(super) claim: Claim,
}

impl Exchange {
    pub(super) async fn run(&self, c: &mut SqliteConnection) -> Result<Exchanged, QueueFault> {
        let mut session = self.session;
        let alive = if self.heartbeat {
            lease::renew(c, session, self.lease_until).await?
        } else {
            lease::holds(c, session).await?
        };
        if !alive {
            session = lease::open(c, &self.name, &self.queue, self.lease_until).await?;
        }
        if let Some(held) = &self.held {
            lease::keep_only(c, &self.queue, session, held, self.now).await?;
        }
        let applied =
            if self.settled.is_empty() { 0 } else { settle::apply(c, &self.settled, self.now).await? };
        let (mut cancel_requests, mut rescued) = (Vec::new(), 0);
        if self.heartbeat {
            cancel_requests = lease::cancel_requests(c, session).await?;
            rescued = lease::rescue(c, self.now).await?;
        }
        let claim = if self.free > 0 {
            claim::claim(c, &self.queue, session, self.now, self.free).await?
        } else {
            Claim::default()
        };
        let stale = (self.settled.len() as u64).saturating_sub(applied);
        Ok(Exchanged { session, stale, cancel_requests, rescued, claim })
    }
}
