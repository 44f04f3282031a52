//! Listings, redrives and alterations of the in-memory engine.

use base::Timestamp;

use super::{MemoryState, StoredJob, StoredJobState};
use crate::{
    engine::{
        Alteration, DROP_MAX, DeadFilter, Depth, EngineError, InspectedJob, JobFilter, JobState, LIST_MAX,
    },
    envelope::JobId,
};

impl MemoryState {
    pub(in crate::testing::memory) fn redrive(&mut self, filter: &DeadFilter, now: Timestamp) -> Vec<JobId> {
        let is_free = |held: &StoredJob| self.other_holder(&held.envelope, now).is_none();
        let matching = self.jobs.values().filter(|held| filter.matches(&held.show()) && is_free(held));
        let mut ids: Vec<JobId> = matching.map(|held| held.envelope.id).take(filter.limit as usize).collect();
        if !filter.dry_run {
            // Of several dead jobs with one key the first one takes it.
            ids.retain(|id| matches!(self.retry_now(*id, now), Ok(true)));
        }
        ids
    }

    pub(in crate::testing::memory) fn retry_now(
        &mut self,
        id: JobId,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let Some(held) = self.jobs.get(&id) else { return Ok(false) };
        match held.place {
            StoredJobState::Delayed { .. } => {}
            StoredJobState::Dead(_) => {
                if let Some(holder) = self.other_holder(&held.envelope, now) {
                    return Err(EngineError::NotUnique { id, holder });
                }
            }
            _ => return Ok(false),
        }
        let order = self.fresh();
        if let Some(mut held) = self.take(id) {
            held.revive(order, now);
            self.put(held);
        }
        Ok(true)
    }

    pub(in crate::testing::memory) fn alter(
        &mut self,
        id: JobId,
        alteration: Alteration,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        if let Alteration::Queue(queue) = &alteration {
            self.known(queue)?;
        }
        let waits = |held: &StoredJob| {
            matches!(held.place, StoredJobState::Ready { .. } | StoredJobState::Delayed { .. })
        };
        if !self.jobs.get(&id).is_some_and(waits) {
            return Ok(false);
        }
        let order = self.fresh();
        let Some(mut held) = self.take(id) else { return Ok(false) };
        match alteration {
            Alteration::RunAt(at) if at > now => {
                held.envelope.run_at = Some(at);
                held.place = StoredJobState::Delayed { at };
            }
            Alteration::RunAt(_) => held.revive(order, now),
            Alteration::Queue(queue) => held.envelope.queue = queue,
            Alteration::Priority(priority) => held.envelope.priority = priority,
        }
        self.put(held);
        Ok(true)
    }

    /// Deletes those that died first.
    pub(in crate::testing::memory) fn drop_dead(&mut self, filter: &DeadFilter) -> u64 {
        let matching = self.jobs.values().map(StoredJob::show).filter(|job| filter.matches(job));
        let mut jobs: Vec<_> =
            matching.filter_map(|job| Some((job.dead?.died_at, job.envelope.id))).collect();
        jobs.sort_unstable();
        jobs.truncate(filter.limit as usize);
        if !filter.dry_run {
            jobs.truncate(DROP_MAX as usize);
            for (_, id) in &jobs {
                self.take(*id);
            }
        }
        jobs.len() as u64
    }

    pub(in crate::testing::memory) fn depth(
        &mut self,
        queue: &str,
        now: Timestamp,
    ) -> Result<Depth, EngineError> {
        self.known(queue)?;
        self.promote(queue, now);
        let paused = self.known(queue)?.paused;
        let mut depth = Depth {
            queue: queue.to_owned(),
            ready: 0,
            delayed: 0,
            running: 0,
            dead: 0,
            oldest_ready_at: None,
            paused,
        };
        for held in self.jobs.values().filter(|held| held.envelope.queue == queue) {
            match held.place {
                StoredJobState::Ready { since } => {
                    depth.ready += 1;
                    depth.oldest_ready_at = Some(depth.oldest_ready_at.map_or(since, |old| old.min(since)));
                }
                StoredJobState::Delayed { .. } => depth.delayed += 1,
                StoredJobState::Running { .. } => depth.running += 1,
                StoredJobState::Dead(_) => depth.dead += 1,
            }
        }
        Ok(depth)
    }

    pub(in crate::testing::memory) fn find(&self, id: JobId) -> Option<InspectedJob> {
        self.jobs.get(&id).map(StoredJob::show)
    }

    pub(in crate::testing::memory) fn list(
        &mut self,
        filter: &JobFilter,
        now: Timestamp,
    ) -> Vec<InspectedJob> {
        for queue in self.queues() {
            self.promote(&queue, now);
        }
        let wanted = |held: &&StoredJob| {
            filter.queue.as_ref().is_none_or(|queue| *queue == held.envelope.queue)
                && filter.kind.as_ref().is_none_or(|kind| *kind == held.envelope.kind)
                && filter.state.is_none_or(|state| state == held.place.state())
                && filter.after.is_none_or(|after| held.envelope.id > after)
        };
        let limit = filter.limit.min(LIST_MAX) as usize;
        self.jobs.values().filter(wanted).take(limit).map(StoredJob::show).collect()
    }
}

impl StoredJob {
    fn show(&self) -> InspectedJob {
        let dead = if let StoredJobState::Dead(info) = &self.place { Some(info.clone()) } else { None };
        InspectedJob {
            envelope: self.envelope.clone(),
            state: self.place.state(),
            crashes: self.crashes,
            last_error: self.last_error.clone(),
            behind: None,
            dead,
        }
    }
}

impl StoredJobState {
    const fn state(&self) -> JobState {
        match self {
            Self::Ready { .. } => JobState::Ready,
            Self::Delayed { .. } => JobState::Delayed,
            Self::Running { .. } => JobState::Running,
            Self::Dead(_) => JobState::Dead,
        }
    }
}
