//! The broker piece: what eight job queues cost RabbitMQ itself, in queues, memory and Raft commands.
//!
//! A Raft command is an entry in the log of a quorum queue: each publish, acknowledgement and dead-lettering is one or
//! more, written by a majority of nodes. Their number is the growth of the commit indexes of all queues of the virtual
//! host, so hops of a job through delay queues count. Memory is that of the Erlang node after a garbage collection of
//! all its processes, over what it was before: with the connections of one worker process, without jobs.
//!
//! All by the broker's command line, because the management API does not tell Raft indexes. Works on a single node:
//! indexes are read there only. Takes the broker for itself; deletes every queue of the virtual host at its end.

use std::{
    iter::{repeat_n, successors},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use base::Ambient;
use jobs::{
    Envelope, Job, JobContext, JobError, Producer,
    envelope::EnqueueOptions,
    registry::{RegisterError, Registry},
};
use serde::{Deserialize, Serialize};
use tokio::{
    process::Command,
    sync::Semaphore,
    task::JoinSet,
    time::{interval, sleep},
};

use crate::{
    figures::{Figures, filler},
    ours::{self, Worker},
};

/// The queues, each with one kind of job of its name.
const NAMES: [&str; 8] = ["cost_0", "cost_1", "cost_2", "cost_3", "cost_4", "cost_5", "cost_6", "cost_7"];
/// Jobs run at a time in each queue.
const CONCURRENCY: usize = 64;
/// Jobs published a second, over all queues: an acknowledgement then takes few jobs or one, as in ordinary operation.
const RATE: u32 = 500;
/// More than the five seconds after which a queue reports its Raft index again.
const SETTLE: Duration = Duration::from_secs(6);

#[derive(Serialize, Deserialize)]
struct Plain<const QUEUE: usize> {
    filler: String,
}

impl<const QUEUE: usize> Job for Plain<QUEUE> {
    /// Gets a permit for each run.
    type Env = Arc<Semaphore>;
    const KIND: &'static str = NAMES[QUEUE];
    const QUEUE: &'static str = NAMES[QUEUE];

    async fn run(&self, ctx: &JobContext<Arc<Semaphore>>) -> Result<(), JobError> {
        ctx.env.add_permits(1);
        Ok(())
    }
}

fn registry() -> Result<Registry<Arc<Semaphore>>, RegisterError> {
    Registry::new()
        .register::<Plain<0>>()?
        .register::<Plain<1>>()?
        .register::<Plain<2>>()?
        .register::<Plain<3>>()?
        .register::<Plain<4>>()?
        .register::<Plain<5>>()?
        .register::<Plain<6>>()?
        .register::<Plain<7>>()
}

/// The broker's command line, for one virtual host.
struct Control<'a> {
    words: &'a str,
    vhost: &'a str,
}

/// What the broker uses at a moment.
struct Usage {
    queues: f64,
    bytes: f64,
    /// Raft commands of all queues so far.
    commands: f64,
}

impl<'a> Control<'a> {
    fn new(words: &'a str, url: &'a str) -> anyhow::Result<Self> {
        let (_, vhost) = url.rsplit_once('/').context("an address without a virtual host")?;
        Ok(Self { words, vhost })
    }

    /// Reads when the last commands are counted.
    async fn usage(&self) -> anyhow::Result<Usage> {
        sleep(SETTLE).await;
        let vhost = self.vhost;
        let expressions = format!(
            "Queues = rabbit_amqqueue:list(<<\"{vhost}\">>), \
             Commands = [Index || Queue <- Queues, \
             {{_, _, _, _, Index, _, _}} <- ets:lookup(ra_metrics, amqqueue:get_name(Queue))], \
             [garbage_collect(Process) || Process <- processes()], \
             {{length(Queues), erlang:memory(total), lists:sum(Commands)}}."
        );
        let text = self.eval(&expressions).await?;
        let numbers = text.trim().trim_matches(['{', '}']).split(',');
        let numbers = numbers.map(|number| number.trim().parse::<f64>()).collect::<Result<Vec<f64>, _>>();
        let numbers = numbers.with_context(|| format!("three numbers expected: {text}"))?;
        let [queues, bytes, commands] = numbers[..] else { bail!("three numbers expected: {text}") };
        Ok(Usage { queues, bytes, commands })
    }

    /// Deletes all queues.
    async fn clear(&self) -> anyhow::Result<()> {
        let vhost = self.vhost;
        let expressions = format!(
            "[rabbit_amqqueue:delete(Queue, false, false, <<\"bench\">>) \
             || Queue <- rabbit_amqqueue:list(<<\"{vhost}\">>)], ok."
        );
        self.eval(&expressions).await.map(drop)
    }

    async fn eval(&self, expressions: &str) -> anyhow::Result<String> {
        let mut words = self.words.split_whitespace();
        let mut command = Command::new(words.next().context("no command line of the broker")?);
        command.args(words).arg("eval").arg(expressions).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the broker's command line failed: {error}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// Publishes a job for each delay, to the queues in turn.
async fn publish(
    producer: &Producer,
    delays: impl Iterator<Item = Option<Duration>>,
) -> anyhow::Result<usize> {
    let (ambient, job) = (Ambient::system(), Plain::<0> { filler: filler() });
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    let mut callers = JoinSet::new();
    for (name, delay) in NAMES.into_iter().cycle().zip(delays) {
        ticks.tick().await;
        let run_at = delay.map(|delay| ambient.now() + delay);
        let options = EnqueueOptions { run_at, ..EnqueueOptions::default() };
        let envelope = Envelope::new(&job, options, &ambient)?;
        let envelope = Envelope { kind: name.to_owned(), queue: name.to_owned(), ..envelope };
        let producer = producer.clone();
        callers.spawn(async move { producer.publish(vec![envelope]).await });
    }
    let published = callers.len();
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(published)
}

/// Waits until so many jobs have run.
async fn finished(runs: &Semaphore, jobs: usize) -> anyhow::Result<()> {
    runs.acquire_many(u32::try_from(jobs)?).await?.forget();
    Ok(())
}

/// Delays so close to each other that they use every delay queue for up to `longest`, which the engine may declare at
/// the first use.
fn every_delay(longest: Duration) -> impl Iterator<Item = Option<Duration>> {
    let delays = successors(Some(Duration::from_millis(100)), |delay| Some(delay.mul_f64(1.1)));
    delays.take_while(move |delay| *delay < longest).chain([longest]).map(Some)
}

/// Measures the queues at rest, then `count` jobs without a delay, then as many with this one.
pub(crate) async fn usage(
    url: &str,
    control: &str,
    longest: Duration,
    delay: Duration,
    count: usize,
) -> anyhow::Result<Figures> {
    ours::log();
    let control = Control::new(control, url)?;
    let empty = control.usage().await?;
    let folder = tempfile::tempdir()?;
    let engine = ours::open(url, folder.path(), &NAMES).await?;
    let runs = Arc::new(Semaphore::new(0));
    let queues = NAMES.map(|name| (name, CONCURRENCY));
    let worker = Worker::start(engine.clone(), folder.path(), registry()?, runs.clone(), &queues).await?;
    let producer = Producer::new(engine, Ambient::system());

    finished(&runs, publish(&producer, every_delay(longest)).await?).await?;
    let at_rest = control.usage().await?;
    finished(&runs, publish(&producer, repeat_n(None, count)).await?).await?;
    let ready = control.usage().await?;
    finished(&runs, publish(&producer, repeat_n(Some(delay), count)).await?).await?;
    let delayed = control.usage().await?;

    worker.stop().await?;
    drop(producer);
    control.clear().await?;
    let per_job = |before: &Usage, after: &Usage| (after.commands - before.commands) / count as f64;
    Ok(Figures::from([
        ("queues".to_owned(), at_rest.queues - empty.queues),
        ("memory_mib".to_owned(), (at_rest.bytes - empty.bytes) / (1024.0 * 1024.0)),
        ("commands".to_owned(), per_job(&at_rest, &ready)),
        ("delayed_commands".to_owned(), per_job(&ready, &delayed)),
    ]))
}
