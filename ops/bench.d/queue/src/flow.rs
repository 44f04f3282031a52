//! Jobs that are published as fast as they are run, a few ahead: on a plain queue, and on a fair one, which then has no
//! backlog.

use std::time::Duration;

use base::Ambient;
use jobs::{
    Envelope, Producer,
    engine::{EngineError, QueueSpec, Weights},
    envelope::EnqueueOptions,
};

use crate::{
    figures::Figures,
    ours::{Noop, Progress, Queue, Worker, clear, log, open},
};

/// Most jobs published and not run: fewer than a fair queue sends straight to the broker.
const AHEAD: usize = 48;
/// Jobs run at a time: enough for all that are ahead.
const CONCURRENCY: usize = 64;
/// Interval of looking whether some have run.
const PAUSE: Duration = Duration::from_millis(1);

/// Measures runs a second with this many fair keys in turn; with none, the queue is plain.
pub(crate) async fn flow(url: &str, keys: usize, count: usize) -> anyhow::Result<Figures> {
    log();
    let (folder, ambient, name) = (tempfile::tempdir()?, Ambient::system(), Queue::Noop.name());
    let engine = open(url, folder.path(), &[name]).await?;
    if keys > 0 {
        engine.declare(&[QueueSpec::new(name).fair(Weights::equal())]).await?;
    }
    let wanted = count + count / 10;
    let progress = Progress::new(count / 10, wanted, false);
    let (registry, queues) = (Queue::Noop.registry()?, [(name, CONCURRENCY)]);
    let worker = Worker::start(engine.clone(), folder.path(), registry, progress.clone(), &queues).await?;
    let (producer, job) = (Producer::new(engine, ambient.clone()), Noop::<0>::new(0));
    let mut sent = 0;
    while sent < wanted {
        let room = AHEAD.saturating_sub(sent.saturating_sub(progress.done())).min(wanted - sent);
        if room == 0 {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let envelopes = (sent..sent + room).map(|number| {
            let fair_key = number.checked_rem(keys).map(|key| format!("key {key}"));
            let envelope = Envelope::new(&job, EnqueueOptions::default(), &ambient)?;
            Ok(Envelope { fair_key, ..envelope })
        });
        producer.publish(envelopes.collect::<Result<_, EngineError>>()?).await?;
        sent += room;
    }
    progress.all.notified().await;
    worker.stop().await?;
    clear(url, name).await?;
    Ok(Figures::from([("per_second".to_owned(), progress.per_second()?)]))
}
