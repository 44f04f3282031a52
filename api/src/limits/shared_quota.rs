//! The quota of a limit over all processes.
//!
//! Guarantees: all processes together never allow more than the quota, in any span of time: the burst and one call per
//! interval. Each call is decided by the counters of all processes, at the time of their server, or by a lease of calls
//! that were counted there before. A lease is spent within one window of time, so calls are allowed at most a window
//! after they were counted; the burst of the counters is smaller by as many calls as a window brings.
//!
//! A caller leases as many calls as it made in the window before: one that calls rarely costs a query per call, one
//! that calls often a few per window. Limits of fewer calls than [`LEASE_MIN`] in [`WINDOW_MAX`] need no leases. Memory
//! stays within [`CALLERS_MAX`] callers; one without an entry is counted call by call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cache::{Lease, Quota, RateLimits};
use tokio::time::Instant;

use super::table::Caller;

/// Longest time between the counting of a call and the call.
const WINDOW_MAX: Duration = Duration::from_millis(100);
/// Fewest calls of a window for which leases are worth their memory.
const LEASE_MIN: u32 = 2;
/// Share of the burst that the calls of a window may be: one of so many.
const BURST_SHARE: u32 = 10;
/// Callers with leases at a time.
const CALLERS_MAX: usize = 65_536;

pub(super) struct SharedQuota {
    name: &'static str,
    limits: Arc<dyn RateLimits>,
    /// With a burst smaller by `lease_max` where there are leases.
    quota: Quota,
    /// Calls of a window; 0 where there are no leases.
    lease_max: u32,
    window: Duration,
    windows: Mutex<HashMap<Caller, Window>>,
}

/// Calls of one caller in the present window.
#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    /// Calls that were counted and not made yet.
    left: u32,
    /// Calls made, and those that were asked for and are not answered.
    made: u32,
    asked: u32,
    /// Calls made in the window before.
    before: u32,
    /// What the counters last said.
    remaining: u32,
}

impl SharedQuota {
    pub(super) fn new(
        name: &'static str,
        interval: Duration,
        burst: u32,
        limits: Arc<dyn RateLimits>,
    ) -> Self {
        let in_window = WINDOW_MAX.as_nanos() / interval.as_nanos().max(1);
        let lease = u32::try_from(in_window).unwrap_or(u32::MAX).min(burst / BURST_SHARE);
        let lease_max = if lease < LEASE_MIN { 0 } else { lease };
        let quota = Quota { interval, burst: burst - lease_max };
        Self { name, limits, quota, lease_max, window: interval * lease_max, windows: Mutex::default() }
    }

    /// Takes one call; with nothing granted it is refused. `None` while the counters do not answer.
    pub(super) async fn take(&self, caller: Caller) -> Option<Lease> {
        let key = self.key(caller);
        if self.lease_max == 0 {
            return self.limits.lease(&key, &self.quota, 1).await.ok();
        }
        let begun = Instant::now();
        let calls = match self.next(caller, begun) {
            Next::Made(lease) => return Some(lease),
            Next::Ask(calls) => calls,
        };
        let answer = self.limits.lease(&key, &self.quota, calls).await.ok();
        self.answered(caller, begun, calls, answer.as_ref());
        answer
    }

    /// Forgets the calls of a caller.
    pub(super) async fn forget(&self, caller: Caller) {
        self.windows().remove(&caller);
        // Without an answer the count ends by itself.
        drop(self.limits.reset(&self.key(caller)).await);
    }

    /// Removes callers without calls in the present window and the one before.
    pub(super) fn sweep(&self) {
        let mut windows = self.windows();
        windows.retain(|_, window| window.began.elapsed() < 2 * self.window);
        windows.shrink_to_fit();
    }

    fn key(&self, caller: Caller) -> String {
        format!("{}:{caller}", self.name)
    }

    fn windows(&self) -> MutexGuard<'_, HashMap<Caller, Window>> {
        // Each entry is replaced whole, so a panic leaves no entry half written.
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call of the lease, or tells how many to ask for.
    fn next(&self, caller: Caller, now: Instant) -> Next {
        let mut windows = self.windows();
        if windows.len() >= CALLERS_MAX && !windows.contains_key(&caller) {
            return Next::Ask(1);
        }
        let window = windows.entry(caller).or_insert_with(|| Window::begin(now, 0));
        window.move_to(now, self.window);
        if window.left > 0 {
            window.left -= 1;
            window.made += 1;
            let remaining = window.left.saturating_add(window.remaining);
            return Next::Made(Lease { granted: 1, remaining, retry_after: Duration::ZERO });
        }
        let expected = window.before.saturating_sub(window.made + window.asked);
        let calls = expected.clamp(1, self.lease_max);
        window.asked += calls;
        Next::Ask(calls)
    }

    /// Notes the calls that were granted. Those of a window that is over are lost: they were counted too long ago.
    fn answered(&self, caller: Caller, begun: Instant, asked: u32, answer: Option<&Lease>) {
        let mut windows = self.windows();
        let Some(window) = windows.get_mut(&caller) else { return };
        if begun < window.began || begun.duration_since(window.began) >= self.window {
            return;
        }
        window.asked = window.asked.saturating_sub(asked);
        let Some(lease) = answer else { return };
        window.remaining = lease.remaining;
        if let Some(more) = lease.granted.checked_sub(1) {
            window.left += more;
            window.made += 1;
        }
    }
}

enum Next {
    /// Counted before.
    Made(Lease),
    /// So many calls, this one included.
    Ask(u32),
}

impl Window {
    const fn begin(now: Instant, before: u32) -> Self {
        Self { began: now, left: 0, made: 0, asked: 0, before, remaining: 0 }
    }

    /// Begins the next window once this one is over; what is left of its lease ends.
    fn move_to(&mut self, now: Instant, window: Duration) {
        let age = now.saturating_duration_since(self.began);
        if age >= window {
            let before = if age < 2 * window { self.made } else { 0 };
            *self = Self::begin(now, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use base::Ambient;
    use cache::LocalLimits;

    use super::*;

    const CALLER: Caller = Caller::Address(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)));

    /// `count` processes with counters in common.
    fn processes(count: usize, interval: Duration, burst: u32) -> Vec<SharedQuota> {
        let limits: Arc<dyn RateLimits> = Arc::new(LocalLimits::new(1_000, Ambient::system()));
        (0..count).map(|_| SharedQuota::new("test", interval, burst, Arc::clone(&limits))).collect()
    }

    async fn passes(quota: &SharedQuota) -> bool {
        quota.take(CALLER).await.expect("answers").granted > 0
    }

    #[tokio::test]
    async fn a_slow_limit_is_counted_call_by_call() {
        let processes = processes(3, Duration::from_hours(1), 7);
        let mut passed = 0;
        for n in 0..30 {
            passed += u32::from(passes(&processes[n % 3]).await);
        }
        assert_eq!(passed, 7);
        processes[0].forget(CALLER).await;
        assert!(passes(&processes[1]).await);
    }

    #[tokio::test]
    async fn processes_with_leases_stay_within_the_quota_together() {
        let interval = Duration::from_millis(1);
        let (processes, began) = (processes(4, interval, 1_000), std::time::Instant::now());
        let mut passed = 0;
        for n in 0..20_000 {
            passed += u32::from(passes(&processes[n % 4]).await);
        }
        let refilled = began.elapsed().as_nanos() / interval.as_nanos() + 1;
        assert!(u128::from(passed) <= 1_000 + refilled, "{passed} of 1000 and {refilled}");
        assert!(passed >= 500, "{passed}");
    }

    #[test]
    fn a_window_after_a_quiet_one_begins_with_single_calls() {
        let processes = processes(1, Duration::from_millis(1), 1_000);
        let quota = &processes[0];
        let asked = |at| match quota.next(CALLER, at) {
            Next::Ask(calls) => calls,
            Next::Made(_) => 0,
        };
        let now = Instant::now();
        let lease = |granted| Some(Lease { granted, remaining: 9, retry_after: Duration::ZERO });
        for _ in 0..30 {
            assert_eq!(asked(now), 1);
            quota.answered(CALLER, now, 1, lease(1).as_ref());
        }
        let next = now + quota.window;
        assert_eq!(asked(next), 30, "as many as before");
        assert_eq!(asked(next), 1, "and no second time while that is not answered");
        quota.answered(CALLER, next, 30, lease(30).as_ref());
        assert_eq!(asked(next), 0, "of the lease");
        assert_eq!(asked(next + 3 * quota.window), 1, "the lease has ended");
    }
}
