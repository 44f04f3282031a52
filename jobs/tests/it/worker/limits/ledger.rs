//! A store of limits in memory, on the clock of tokio, which a test can take away.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use orderworks_jobs::{
    JobId,
    engine::EngineError,
    job_store::{
        GrantedStarts, LeaseWant, LeasedSlots, LimitFilter, LimitInUse, ParkedJob, SharedLimits, StartsWant,
        UnusedStarts,
    },
};
use tokio::time::Instant;

/// Validity of a block of starts.
const VALID: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Ledger(Mutex<Page>);

#[derive(Default)]
pub(super) struct Page {
    pub(super) away: bool,
    /// Calls of [`SharedLimits::lease`].
    pub(super) leases: u32,
    /// Jobs parked so far.
    pub(super) parkings: u32,
    /// By key and holder: slots and end.
    held: BTreeMap<(String, String), (u32, Instant)>,
    /// Starts, with the time until which each block counts.
    blocks: Vec<(String, u32, Instant)>,
    parked: HashMap<String, Vec<JobId>>,
}

impl Ledger {
    pub(super) fn page(&self) -> MutexGuard<'_, Page> {
        self.0.lock().unwrap()
    }

    fn open(&self) -> Result<MutexGuard<'_, Page>, EngineError> {
        let page = self.page();
        if page.away { Err(EngineError::Closed) } else { Ok(page) }
    }
}

impl Page {
    /// Slots that another process takes, as far as there are some, for this long.
    pub(super) fn take(&mut self, key: &str, holder: &str, slots: u32, ttl: Duration) {
        self.held.insert((key.to_owned(), holder.to_owned()), (slots, Instant::now() + ttl));
    }

    /// Slots that are leased at a key.
    pub(super) fn leased(&self, key: &str) -> u32 {
        let now = Instant::now();
        self.held
            .iter()
            .filter(|((of, _), (_, end))| of == key && *end > now)
            .map(|(_, (slots, _))| slots)
            .sum()
    }

    fn is_parked(&self, key: &str) -> bool {
        self.parked.get(key).is_some_and(|jobs| !jobs.is_empty())
    }
}

#[async_trait]
impl SharedLimits for Ledger {
    async fn lease(
        &self,
        holder: &str,
        wants: Vec<LeaseWant>,
        ttl: Duration,
    ) -> Result<Vec<LeasedSlots>, EngineError> {
        let mut page = self.open()?;
        page.leases += 1;
        let mut answers = Vec::new();
        for LeaseWant { key, slots, max, .. } in wants {
            page.held.remove(&(key.clone(), holder.to_owned()));
            let room = max.saturating_sub(page.leased(&key));
            let slots = slots.min(room);
            if slots > 0 {
                page.take(&key, holder, slots, ttl);
            }
            answers.push(LeasedSlots { slots, free: room - slots, parked: page.is_parked(&key) });
        }
        Ok(answers)
    }

    async fn starts(&self, wants: Vec<StartsWant>) -> Result<Vec<GrantedStarts>, EngineError> {
        let (mut page, now) = (self.open()?, Instant::now());
        let mut answers = Vec::new();
        for StartsWant { key, starts, max, per, .. } in wants {
            let counted = page.blocks.iter().filter(|(of, _, until)| *of == key && *until > now);
            let counted: Vec<_> = counted.map(|(_, starts, until)| (*starts, *until)).collect();
            let room = max.saturating_sub(counted.iter().map(|(starts, _)| starts).sum());
            let starts = starts.min(room);
            let first = counted.iter().map(|(_, until)| *until - now).min().unwrap_or_default();
            page.blocks.push((key.clone(), starts, now + VALID + per));
            let (free, parked) = (room - starts, page.is_parked(&key));
            answers.push(GrantedStarts { block: 1, starts, valid_for: VALID, free, free_in: first, parked });
        }
        Ok(answers)
    }

    async fn return_starts(&self, _unused: Vec<UnusedStarts>) -> Result<(), EngineError> {
        self.open().map(drop)
    }

    async fn park(&self, jobs: Vec<ParkedJob>) -> Result<(), EngineError> {
        let mut page = self.open()?;
        for ParkedJob { key, job, .. } in jobs {
            page.parkings += 1;
            page.parked.entry(key).or_default().push(job);
        }
        Ok(())
    }

    async fn unpark(&self, _limit: &str, key: &str, most: u32) -> Result<Vec<JobId>, EngineError> {
        let mut page = self.open()?;
        let jobs = page.parked.entry(key.to_owned()).or_default();
        let most = jobs.len().min(most as usize);
        Ok(jobs.drain(..most).collect())
    }

    async fn limits_in_use(&self, _filter: &LimitFilter) -> Result<Vec<LimitInUse>, EngineError> {
        self.open().map(|_| Vec::new())
    }

    async fn expire_limits(&self) -> Result<u64, EngineError> {
        self.open().map(|_| 0)
    }
}
