//! Commands `control bulk` and `inspect operations`; with or without a running scheduler, which carries out what no
//! command waits for.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use base::{Ambient, time::earlier};
use jobs::{
    Timestamp,
    bulk::{
        BulkFilter, Items, JOBS, JobItems, Operation, OperationAdmin, OperationId, OperationRunner, Plan,
        Verb,
    },
    engine::Alteration,
    job_store::JobStore,
};
use tokio::time::{MissedTickBehavior, interval};
use workers::ended_items::{EndedItemsParts, ended_items};

use crate::{
    cli::{BulkArgs, BulkCommand},
    config::Config,
    output::{self, one_line},
    wiring::{Jobs, open_job_store, open_orders},
};

/// What the commands work with.
pub(super) struct Opened {
    pub(super) jobs: Jobs,
    pub(super) ambient: Ambient,
    store: Arc<dyn JobStore>,
    items: Vec<Arc<dyn Items>>,
    /// Name of this process as a runner.
    name: String,
}

impl Opened {
    pub(super) async fn open(config: &Config) -> Result<Self> {
        Self::beside(Jobs::open(&config.engines).await?, config).await
    }

    async fn beside(jobs: Jobs, config: &Config) -> Result<Self> {
        let ambient = Ambient::system();
        let store = open_job_store(&config.engines, &ambient).await?;
        let items: Vec<Arc<dyn Items>> = vec![Arc::new(JobItems::new(jobs.queue.clone()))];
        let name = format!("orderworks control {}", std::process::id());
        Ok(Self { jobs, ambient, store, items, name })
    }

    /// Opens what items that are no jobs come from.
    async fn add_items(&mut self, items: &str, config: &Config) -> Result<()> {
        if items != JOBS {
            let (records, engine) = (self.jobs.records.clone(), self.jobs.queue.clone());
            let orders = open_orders(config, &self.ambient).await?;
            let (ambient, mail_domains) = (self.ambient.clone(), config.mail.per_domain.is_some());
            let parts = EndedItemsParts { orders, records, engine, ambient, mail_domains };
            self.items.extend(ended_items(&parts));
        }
        Ok(())
    }

    pub(super) fn admin(&self) -> OperationAdmin<'_> {
        OperationAdmin { store: self.store.as_ref(), items: &self.items, ambient: &self.ambient }
    }

    /// Confirms an operation and carries it out here, with a line on standard error after each step that did something.
    /// Returns the items it was done to.
    pub(super) async fn carry_out(
        &self,
        id: OperationId,
        told: impl Fn(usize) -> String,
    ) -> Result<(Operation, Vec<String>)> {
        self.admin().confirm(id, Some(&self.name)).await?;
        let store = self.store.clone();
        let mut runner =
            OperationRunner::new(store, self.items.clone(), self.name.clone(), self.ambient.clone());
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ids = Vec::new();
        loop {
            let operation = self.admin().find(id).await?;
            if operation.state.is_ended() {
                return Ok((operation, ids));
            }
            tick.tick().await;
            let step = Box::pin(runner.step(operation)).await;
            let done = step.with_context(|| format!("{id} has not ended; a scheduler goes on with it"))?.done;
            if !done.is_empty() {
                ids.extend(done);
                output::remark(&told(ids.len()));
            }
        }
    }
}

/// Name of the user of this machine, for the record.
pub(super) fn user() -> String {
    let user = std::env::var("USER").unwrap_or_default();
    let user: String = user.chars().filter(|c| !c.is_control()).take(100).collect();
    if user.trim().is_empty() { "unknown".to_owned() } else { user }
}

/// An error if the operation cannot be previewed, confirmed or cancelled; then the exit status is 1.
pub(super) async fn control(what: BulkCommand, config: &Config, as_json: bool) -> Result<ExitCode> {
    let mut opened = Opened::open(config).await?;
    let mut kind = JOBS.to_owned();
    let (verb, args) = match what {
        BulkCommand::Retry { items, args } => {
            opened.add_items(&items, config).await?;
            kind = items;
            (Verb::Retry, args)
        }
        BulkCommand::Redrive(args) => (Verb::Redrive, args),
        BulkCommand::Delete(args) => (Verb::Delete, args),
        BulkCommand::Cancel { operation: None, args } => (Verb::Cancel, args),
        BulkCommand::Move { at: Some(at), args, .. } => (Verb::Alter(Alteration::RunAt(at)), args),
        BulkCommand::Move { to: Some(queue), args, .. } => (Verb::Alter(Alteration::Queue(queue)), args),
        BulkCommand::Move { .. } => bail!("say where the jobs are to go: --at TIME or --to QUEUE"),
        BulkCommand::Reprioritise { priority, args } => (Verb::Alter(Alteration::Priority(priority)), args),
        BulkCommand::Confirm { operation, wait } => {
            let items = opened.admin().find(operation).await?.plan.items;
            opened.add_items(&items, config).await?;
            return confirm(&opened, operation, wait, as_json).await;
        }
        BulkCommand::Cancel { operation: Some(operation), args } => {
            return cancel(&opened, operation, &args, as_json).await;
        }
    };
    let (is_confirmed, wait) = (args.yes, args.wait);
    opened.jobs.require_queue(args.queue.as_ref()).await?;
    let plan = plan(&kind, verb, args, opened.ambient.now())?;
    let operation = opened.admin().preview(plan).await?;
    if !as_json {
        describe(&operation)?;
    }
    if is_confirmed {
        return confirm(&opened, operation.id, wait, as_json).await;
    }
    let next =
        format!("nothing is changed yet; carry it out: orderworks control bulk confirm {}\n", operation.id);
    output::answer(as_json, &operation, || next)?;
    Ok(ExitCode::SUCCESS)
}

fn plan(items: &str, verb: Verb, args: BulkArgs, now: Timestamp) -> Result<Plan> {
    let why = args.why.context("say why, for the record: --why TEXT")?;
    let filter = BulkFilter {
        id: None,
        queue: args.queue,
        state: args.state,
        kind: args.kind,
        subject: args.subject,
        key: args.key,
        error_contains: args.error,
        reason: args.reason,
        since: args.newer_than.map(|span| earlier(now, span)),
        before: args.older_than.map(|span| earlier(now, span)),
    };
    Ok(Plan { filter, rate: args.rate, ..Plan::new(items, verb, args.who.unwrap_or_else(user), why) })
}

async fn confirm(opened: &Opened, id: OperationId, wait: bool, as_json: bool) -> Result<ExitCode> {
    if wait {
        let matched = opened.admin().find(id).await?.counts.matched;
        let (operation, _) = opened.carry_out(id, |done| format!("{done} of {matched} done")).await?;
        output::answer(as_json, &operation, || format!("{}\n", ended(&operation)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let operation = opened.admin().confirm(id, None).await?;
    output::answer(as_json, &operation, || {
        format!("{id} runs as soon as a scheduler does; its progress: orderworks inspect operations {id}\n")
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn cancel(opened: &Opened, id: OperationId, args: &BulkArgs, as_json: bool) -> Result<ExitCode> {
    if args.why.is_some() || args.yes || args.queue.is_some() || args.kind.is_some() {
        bail!("an operation is cancelled by its id alone; leave the other options out");
    }
    let operation = opened.admin().cancel(id).await?;
    output::answer(as_json, &operation, || {
        if operation.is_cancelling && !operation.state.is_ended() {
            format!("{id} ends with the {} items in hand\n", operation.in_hand())
        } else {
            format!("{}\n", ended(&operation))
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What came of an operation, in a line.
fn ended(operation: &Operation) -> String {
    let (id, state, counts) = (operation.id, operation.state.as_str(), operation.counts);
    let error =
        operation.last_error.as_deref().map(|error| format!("; last error: {}", one_line(Some(error))));
    format!(
        "{id} is {state}: {} done, {} skipped, {} failed{}",
        counts.done,
        counts.skipped,
        counts.failed,
        error.unwrap_or_default()
    )
}

/// Prints what an operation does, to how many jobs, and some of them.
fn describe(operation: &Operation) -> Result<()> {
    let (plan, counts) = (&operation.plan, operation.counts);
    let least = if counts.is_exact { "" } else { " or more" };
    let mut lines = vec![
        format!("operation   {}", operation.id),
        format!("state       {}", operation.state.as_str()),
        format!("does        {}: each {}", plan.verb.name(), operation.effect),
        format!("to          {} of {}{least}, {} per second", plan.items, counts.matched, plan.rate),
        format!("filter      {}", one_line(Some(&plan.filter.to_string()))),
        format!("asked by    {}: {}", one_line(Some(&plan.who)), one_line(Some(&plan.why))),
    ];
    lines.extend(operation.limits.iter().map(|limit| format!("but         {limit}")));
    lines.extend(operation.sample.iter().map(|item| format!("  {} {}", item.id, one_line(Some(&item.text)))));
    output::text(&format!("{}\n", lines.join("\n")))
}

/// Lists operations, or shows one.
pub(super) async fn show(jobs: Jobs, config: &Config, id: Option<OperationId>, as_json: bool) -> Result<()> {
    let opened = Opened::beside(jobs, config).await?;
    if let Some(id) = id {
        let operation = opened.admin().find(id).await?;
        if as_json {
            return output::json(&operation);
        }
        describe(&operation)?;
        let times = [
            ("previewed", Some(operation.created_at)),
            ("began", operation.began_at),
            ("ended", operation.ended_at),
        ];
        for (label, time) in times {
            if let Some(time) = time {
                output::text(&format!("{label:<11} {time}\n"))?;
            }
        }
        if let Some(holder) = operation.holder() {
            output::text(&format!("{:<11} {}\n", "runs in", one_line(Some(holder))))?;
        }
        return output::text(&format!("{}\n", ended(&operation)));
    }
    let headings = ["ID", "STATE", "VERB", "MATCHED", "DONE", "SKIPPED", "FAILED", "BY", "FILTER", "WHY"];
    output::list(as_json, &opened.admin().list().await?, headings, |operation| {
        let (plan, counts) = (&operation.plan, operation.counts);
        [
            operation.id.to_string(),
            operation.state.as_str().to_owned(),
            plan.verb.name().to_owned(),
            format!("{}{}", counts.matched, if counts.is_exact { "" } else { "+" }),
            counts.done.to_string(),
            counts.skipped.to_string(),
            counts.failed.to_string(),
            one_line(Some(&plan.who)),
            one_line(Some(&plan.filter.to_string())),
            one_line(Some(&plan.why)),
        ]
    })
}
