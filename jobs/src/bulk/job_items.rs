//! The jobs of an engine as items of bulk operations.
//!
//! Listed queue by queue and by id within each, so that a job comes once whatever its state becomes meanwhile. Taken
//! are dead jobs that had died before the preview, and of the others those whose id was drawn before it.

use std::sync::Arc;

use async_trait::async_trait;
use base::{Timestamp, ids};

use super::{
    error::OperationError,
    items::{Acted, ItemPage, Items},
    operation::{Item, Operation},
    plan::{BulkFilter, Plan, Verb},
};
use crate::{
    engine::{Admin, Alteration, Cancelled, DeadFilter, EngineError, InspectedJob, JobFilter, JobState},
    envelope::JobId,
};

/// Name of these items.
pub const JOBS: &str = "jobs";
/// Name of the items of [`OneJob`]. Another name than [`JOBS`], because a runner of a release before does not know the
/// condition and would take all jobs.
pub const JOB: &str = "job";
/// Jobs looked at for one page.
const LOOK_AT: u32 = 500;
/// Longest part of an error in a listed item, in characters.
const ERROR_CHARS_MAX: usize = 100;

/// The jobs of an engine.
pub struct JobItems {
    engine: Arc<dyn Admin>,
}

impl JobItems {
    /// The jobs of this engine.
    pub fn new(engine: Arc<dyn Admin>) -> Self {
        Self { engine }
    }

    async fn queues(&self, plan: &Plan) -> Result<Vec<String>, EngineError> {
        if let Some(queue) = &plan.filter.queue {
            return Ok(vec![queue.clone()]);
        }
        let mut queues = self.engine.queues().await?;
        queues.sort_unstable();
        Ok(queues)
    }
}

#[async_trait]
impl Items for JobItems {
    fn name(&self) -> &'static str {
        JOBS
    }

    fn check(&self, plan: &Plan) -> Result<(), OperationError> {
        let (verb, filter) = (&plan.verb, &plan.filter);
        let name = verb.name();
        let why = match filter.state {
            _ if verb.states().is_empty() => format!("{name} is not for jobs"),
            _ if filter.id.is_some() => format!("a job is chosen by its id as one of the items `{JOB}`"),
            Some(state) if !verb.states().contains(&state) => {
                let states: Vec<&str> = verb.states().iter().map(|state| state.as_str()).collect();
                format!(
                    "{name} is for jobs that are {}; leave the state out or use one of these",
                    states.join(" or ")
                )
            }
            _ if filter.reason.is_some() && !takes_dead(plan) => {
                format!("only dead jobs have a reason; {name} does not take them: leave the reason out")
            }
            _ => match verb {
                Verb::Alter(Alteration::Queue(_)) if filter.queue.is_none() => {
                    "name the queue that the jobs are to leave".to_owned()
                }
                Verb::Alter(Alteration::Queue(to)) if filter.queue.as_ref() == Some(to) => {
                    format!("the jobs are in {to}; name another queue to move them to")
                }
                _ => return Ok(()),
            },
        };
        Err(OperationError::Plan(why))
    }

    async fn limits(&self, operation: &Operation) -> Result<Vec<String>, EngineError> {
        let (can, mut limits) = (self.engine.capabilities(), Vec::new());
        let known = self.engine.queues().await?;
        let target = match &operation.plan.verb {
            Verb::Alter(Alteration::Queue(queue)) => Some(queue),
            _ => None,
        };
        for queue in operation.plan.filter.queue.iter().chain(target) {
            if !known.contains(queue) {
                return Err(EngineError::NoSuchQueue(queue.clone()));
            }
        }
        if takes(&operation.plan, JobState::Ready) && !can.lists_ready {
            for queue in self.queues(&operation.plan).await? {
                let ready = self.engine.depth(&queue).await?.ready;
                if ready > 0 {
                    limits.push(format!("{ready} ready jobs of {queue} cannot be listed and are left alone"));
                }
            }
        }
        if takes(&operation.plan, JobState::Delayed) && !can.lists_delayed {
            let short = self.engine.short_delays().await?;
            if short > 0 {
                limits.push(format!("{short} jobs of any queue in short delays are left alone"));
            }
        }
        Ok(limits)
    }

    async fn page(
        &self,
        operation: &Operation,
        after: Option<&str>,
        limit: u32,
    ) -> Result<ItemPage, EngineError> {
        let (at, after) = after.and_then(|position| position.split_once('/')).unwrap_or_default();
        let queues = self.queues(&operation.plan).await?;
        let Some(place) = queues.iter().position(|queue| queue.as_str() >= at) else {
            return Ok(ItemPage::default());
        };
        let queue = &queues[place];
        let after = if queue == at { after.parse().ok() } else { None };
        let jobs = self.engine.list(&list_filter(&operation.plan, queue, after)).await?;
        let mut page =
            ItemPage { items: Vec::new(), next: queues.get(place + 1).map(|next| format!("{next}/")) };
        let is_over = jobs
            .first()
            .is_none_or(|job| !takes_dead(&operation.plan) && !is_older(job, operation.created_at));
        if is_over {
            return Ok(page);
        }
        for job in jobs {
            page.next = Some(format!("{queue}/{}", job.envelope.id));
            if matches(operation, &job) {
                page.items.push(item(&job));
                if page.items.len() >= limit as usize {
                    break;
                }
            }
        }
        Ok(page)
    }

    async fn act(&self, operation: &Operation, item: &str) -> Result<Acted, EngineError> {
        let Ok(id) = item.parse::<JobId>() else { return Ok(Acted::Left) };
        let Some(job) = self.engine.find(id).await?.filter(|job| matches(operation, job)) else {
            return Ok(Acted::Left);
        };
        let (engine, plan) = (&self.engine, &operation.plan);
        let is_done = match &plan.verb {
            Verb::Cancel => engine.cancel(id, &plan.why).await? != Cancelled::NotFound,
            Verb::Alter(alteration) => engine.alter(id, alteration.clone()).await?,
            Verb::Delete => engine.drop_dead(&dead_filter(operation, id)).await? > 0,
            Verb::Retry | Verb::Redrive if job.state == JobState::Dead => {
                !engine.redrive(&dead_filter(operation, id)).await?.is_empty()
            }
            Verb::Retry | Verb::Redrive => engine.retry_now(id).await?,
            // Refused with the plan.
            Verb::Pause | Verb::Resume | Verb::Purge | Verb::Run => false,
        };
        Ok(if is_done { Acted::Done } else { Acted::Left })
    }
}

/// One job of an engine, chosen by its id alone; found where [`Admin::find`] finds it.
pub struct OneJob(JobItems);

impl OneJob {
    /// Any job of this engine.
    pub fn new(engine: Arc<dyn Admin>) -> Self {
        Self(JobItems::new(engine))
    }
}

#[async_trait]
impl Items for OneJob {
    fn name(&self) -> &'static str {
        JOB
    }

    fn check(&self, plan: &Plan) -> Result<(), OperationError> {
        let id = plan.only_item()?;
        if id.parse::<JobId>().is_err() {
            return Err(OperationError::Plan(format!("`{id}` is no id of a job")));
        }
        let any = Plan { filter: BulkFilter::default(), ..plan.clone() };
        self.0.check(&any)
    }

    async fn limits(&self, _: &Operation) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }

    async fn page(&self, operation: &Operation, _: Option<&str>, _: u32) -> Result<ItemPage, EngineError> {
        let id = operation.plan.filter.id.as_deref().and_then(|id| id.parse::<JobId>().ok());
        let Some(id) = id else { return Ok(ItemPage::default()) };
        let found = self.0.engine.find(id).await?.filter(|job| matches(operation, job));
        Ok(ItemPage { items: found.iter().map(item).collect(), next: None })
    }

    async fn act(&self, operation: &Operation, item: &str) -> Result<Acted, EngineError> {
        self.0.act(operation, item).await
    }
}

/// Whether the operation is for jobs in this state.
fn takes(plan: &Plan, state: JobState) -> bool {
    plan.verb.states().contains(&state) && plan.filter.state.is_none_or(|only| only == state)
}

fn takes_dead(plan: &Plan) -> bool {
    takes(plan, JobState::Dead)
}

fn list_filter(plan: &Plan, queue: &str, after: Option<JobId>) -> JobFilter {
    let only = match plan.verb.states() {
        [state] => Some(*state),
        _ => None,
    };
    JobFilter {
        queue: Some(queue.to_owned()),
        state: plan.filter.state.or(only),
        kind: plan.filter.kind.clone(),
        after,
        limit: LOOK_AT,
    }
}

/// The dead job if it is as the operation wants it, in the statement that changes it.
fn dead_filter(operation: &Operation, id: JobId) -> DeadFilter {
    let filter = operation.plan.filter.clone();
    let until = filter.before.map_or(operation.created_at, |before| before.min(operation.created_at));
    DeadFilter {
        id: Some(id),
        queue: filter.queue,
        kind: filter.kind,
        reason: filter.reason,
        error_contains: filter.error_contains,
        since: filter.since,
        died_before: Some(until),
        after: None,
        limit: 1,
        dry_run: false,
    }
}

/// Whether the id of the job was drawn before this time.
fn is_older(job: &InspectedJob, at: Timestamp) -> bool {
    job.envelope.id < JobId(ids::floor(at))
}

fn matches(operation: &Operation, job: &InspectedJob) -> bool {
    let (filter, envelope) = (&operation.plan.filter, &job.envelope);
    let is_equal = |wanted: Option<&String>, found: Option<&str>| {
        wanted.is_none_or(|wanted| found == Some(wanted.as_str()))
    };
    let (at, existed) = match &job.dead {
        Some(dead) => (dead.died_at, dead.died_at < operation.created_at),
        None => (envelope.created_at, is_older(job, operation.created_at)),
    };
    let error = job.last_error.as_deref().unwrap_or_default();
    existed
        && takes(&operation.plan, job.state)
        && is_equal(filter.queue.as_ref(), Some(&envelope.queue))
        && is_equal(filter.kind.as_ref(), Some(&envelope.kind))
        && is_equal(filter.subject.as_ref(), envelope.subject.as_deref())
        && filter.key.as_ref().is_none_or(|key| has_key(job, key))
        && filter.error_contains.as_ref().is_none_or(|part| error.contains(part.as_str()))
        && filter.reason.is_none_or(|reason| job.dead.as_ref().is_some_and(|dead| dead.reason == reason))
        && filter.since.is_none_or(|since| at >= since)
        && filter.before.is_none_or(|before| at < before)
}

/// Unique keys are stored with their kind.
fn has_key(job: &InspectedJob, key: &str) -> bool {
    let envelope = &job.envelope;
    let unique = envelope.unique_key.as_deref();
    let bare = unique.and_then(|unique| unique.strip_prefix(&*envelope.kind)?.strip_prefix('/'));
    [unique, bare, envelope.concurrency_key.as_deref()].contains(&Some(key))
}

fn item(job: &InspectedJob) -> Item {
    let (envelope, state) = (&job.envelope, job.state.as_str());
    let error: String = job.last_error.iter().flat_map(|error| error.chars()).take(ERROR_CHARS_MAX).collect();
    let text = format!("{} {} {state} {error}", envelope.kind, envelope.queue);
    Item { id: envelope.id.to_string(), text: text.trim().to_owned() }
}
