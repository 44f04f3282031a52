//! Operator actions: inspection, control, dead jobs.

use orderworks_jobs::{
    JobId, Timestamp, TraceContext,
    engine::{
        Alteration, Cancelled, ConsumerInfo, DeadFilter, Depth, EngineError, InspectedJob, Interrupt,
        JobFilter, JobState,
    },
};

use super::{ConsumerSession, Row, Rows};

impl Rows {
    pub(crate) fn queues(&self) -> Vec<String> {
        self.queues.keys().cloned().collect()
    }

    pub(crate) fn set_paused(&mut self, queue: &str, paused: bool) -> Result<(), EngineError> {
        self.require(queue)?;
        self.queues.insert(queue.to_owned(), paused);
        Ok(())
    }

    pub(crate) fn depth(&self, queue: &str, now: Timestamp) -> Result<Depth, EngineError> {
        self.require(queue)?;
        let in_state = |state| {
            let of_queue = self.jobs.values().filter(|row| row.envelope.queue == queue);
            of_queue.filter(move |row| row.state(now) == state)
        };
        let count = |state| in_state(state).count() as u64;
        Ok(Depth {
            queue: queue.to_owned(),
            ready: count(JobState::Ready),
            delayed: count(JobState::Delayed),
            running: count(JobState::Running),
            dead: count(JobState::Dead),
            oldest_ready_at: in_state(JobState::Ready).map(|row| row.ready_at).min(),
            paused: self.queues.get(queue) == Some(&true),
        })
    }

    pub(crate) fn consumers(&self, now: Timestamp) -> Vec<ConsumerInfo> {
        let info = |consumer: &ConsumerSession| ConsumerInfo {
            name: consumer.options.name.clone(),
            queue: consumer.queue.clone(),
            jobs: consumer.running as u64,
            alive_until: now,
        };
        self.sessions.values().map(info).collect()
    }

    pub(crate) fn purge(&mut self, queue: &str) -> Result<u64, EngineError> {
        self.require(queue)?;
        let before = self.jobs.len();
        let stays = |row: &Row| row.envelope.queue != queue || row.held.is_some() || row.dead.is_some();
        self.jobs.retain(|_, row| stays(row));
        Ok((before - self.jobs.len()) as u64)
    }

    pub(crate) fn cancel(&mut self, id: JobId, reason: &str) -> Cancelled {
        let found = self.jobs.iter_mut().find(|(_, row)| row.envelope.id == id);
        let Some((&place, row)) = found else { return Cancelled::NotFound };
        if let Some((_, signal)) = &row.held {
            signal.fire(Interrupt::Cancelled);
            row.cancelled = true;
            row.last_error = Some(reason.to_owned());
            return Cancelled::Requested;
        }
        self.jobs.remove(&place);
        Cancelled::Removed
    }

    pub(crate) fn retry_now(&mut self, id: JobId, now: Timestamp) -> Result<bool, EngineError> {
        let waits = |state| matches!(state, JobState::Delayed | JobState::Dead);
        let can = |row: &Row| row.envelope.id == id && waits(row.state(now));
        let Some((&place, row)) = self.jobs.iter().find(|(_, row)| can(row)) else { return Ok(false) };
        let holder = self.other_holder(&row.envelope, now).filter(|_| row.dead.is_some());
        if let Some(holder) = holder {
            return Err(EngineError::NotUnique { id, holder });
        }
        let Some(row) = self.jobs.get_mut(&place) else { return Ok(false) };
        row.ready_at = now;
        if row.dead.take().is_some() {
            (row.envelope.attempt, row.crashes, row.alone, row.first_failed_at) = (0, 0, 0, None);
            row.envelope.trace = row.envelope.trace.take().map(TraceContext::linked);
            row.fetched = false;
        }
        Ok(true)
    }

    pub(crate) fn alter(&mut self, id: JobId, alteration: Alteration) -> Result<bool, EngineError> {
        if let Alteration::Queue(queue) = &alteration {
            self.require(queue)?;
        }
        let waits = |row: &Row| row.envelope.id == id && row.held.is_none() && row.dead.is_none();
        let place = self.jobs.iter().find(|(_, row)| waits(row)).map(|(place, _)| *place);
        let Some((mut place, mut row)) = place.and_then(|place| self.jobs.remove_entry(&place)) else {
            return Ok(false);
        };
        match alteration {
            Alteration::RunAt(at) => (row.ready_at, row.envelope.run_at) = (at, Some(at)),
            Alteration::Queue(queue) => row.envelope.queue = queue,
            Alteration::Priority(priority) => (place.0, row.envelope.priority) = (priority, priority),
        }
        self.jobs.insert(place, row);
        Ok(true)
    }

    pub(crate) fn find(&self, id: JobId, now: Timestamp) -> Option<InspectedJob> {
        self.jobs.values().find(|row| row.envelope.id == id).map(|row| row.show(now))
    }

    /// Oldest first: ids are UUIDv7.
    pub(crate) fn list(&self, filter: &JobFilter, now: Timestamp) -> Vec<InspectedJob> {
        let wanted = |row: &&Row| {
            filter.queue.as_ref().is_none_or(|queue| *queue == row.envelope.queue)
                && filter.kind.as_ref().is_none_or(|kind| *kind == row.envelope.kind)
                && filter.state.is_none_or(|state| state == row.state(now))
                && filter.after.is_none_or(|after| row.envelope.id > after)
        };
        let mut found: Vec<_> = self.jobs.values().filter(wanted).collect();
        found.sort_by_key(|row| row.envelope.id);
        found.into_iter().take(filter.limit.min(1000) as usize).map(|row| row.show(now)).collect()
    }

    /// Oldest first, as `list`.
    pub(crate) fn redrive(&mut self, filter: &DeadFilter, now: Timestamp) -> Vec<JobId> {
        let is_free = |row: &Row| self.other_holder(&row.envelope, now).is_none();
        let can = |row: &&Row| filter.matches(&row.show(now)) && is_free(row);
        let matching = self.jobs.values().filter(can);
        let mut ids: Vec<JobId> = matching.map(|row| row.envelope.id).collect();
        ids.sort_unstable();
        ids.truncate(filter.limit as usize);
        if !filter.dry_run {
            // Of several dead jobs with one key the first one takes it.
            ids.retain(|id| matches!(self.retry_now(*id, now), Ok(true)));
        }
        ids
    }

    /// Those that died first go first.
    pub(crate) fn drop_dead(&mut self, filter: &DeadFilter, now: Timestamp) -> u64 {
        let died_at = |row: &Row| row.dead.as_ref().map(|dead| dead.died_at);
        let matching = self.jobs.iter().filter(|(_, row)| filter.matches(&row.show(now)));
        let mut found: Vec<_> = matching.map(|(place, row)| (died_at(row), *place)).collect();
        found.sort_unstable();
        found.truncate(filter.limit as usize);
        if !filter.dry_run {
            for (_, place) in &found {
                self.jobs.remove(place);
            }
        }
        found.len() as u64
    }
}
