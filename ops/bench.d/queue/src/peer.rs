//! The apalis-amqp pieces, as its documentation shows it, with persistent messages and a quorum queue as for all.
//!
//! apalis-amqp publishes without confirms, so its figure promises less than the others.

use std::time::Instant;

use anyhow::anyhow;
use apalis::prelude::*;
use apalis_amqp::{AmqpBackend, Config};
use apalis_core::task::metadata::MetadataStore;
use lapin::options::ConfirmSelectOptions;

use crate::{
    figures::{BODY_BYTES, Figures},
    ours::Progress,
    raw,
};

const QUEUE: &str = "apalis";
/// Tasks run at a time.
const CONCURRENCY: usize = 512;

fn backend(url: &str) -> anyhow::Result<AmqpBackend<String>> {
    let config = Config::default().queue(QUEUE).prefetch_count(raw::PREFETCH).quorum(true);
    Ok(AmqpBackend::new_from_addr(url)?.with_config(config))
}

/// Encoded as JSON it has two quotes more.
fn payload() -> String {
    "x".repeat(BODY_BYTES - 2)
}

pub(crate) async fn push(url: &str, count: usize) -> anyhow::Result<Figures> {
    let mut backend = backend(url)?;
    let persistent = MetadataStore::from_map([("delivery_mode".to_owned(), "2".to_owned())].into());
    let mut began = Instant::now();
    for number in 0..count + count / 10 {
        if number == count / 10 {
            began = Instant::now();
        }
        let task = TaskBuilder::new(payload()).with_metadata(persistent.clone()).build();
        backend.push_task(task).await.map_err(|error| anyhow!("{error}"))?;
    }
    let taken = began.elapsed();
    clear(url).await?;
    Ok(Figures::from([("per_second".to_owned(), count as f64 / taken.as_secs_f64())]))
}

pub(crate) async fn process(url: &str, count: usize) -> anyhow::Result<Figures> {
    let warm_up = count / 10;
    fill(url, warm_up + count + 2 * usize::from(raw::PREFETCH)).await?;
    let progress = Progress::new(warm_up, warm_up + count, false);
    let counting = progress.clone();
    let task = move |_: String| {
        let progress = counting.clone();
        async move {
            progress.count();
            Ok::<(), BoxDynError>(())
        }
    };
    let mut backend = backend(url)?;
    // As in its documentation. Without this, version 1.0.0 panics: it takes the queue's declaration for the
    // subscription.
    backend.push(payload()).await.map_err(|error| anyhow!("{error}"))?;
    let worker = WorkerBuilder::new("bench").backend(backend).concurrency(CONCURRENCY).build(task);
    tokio::select! {
        ended = worker.run() => return Err(anyhow!("the worker ended: {ended:?}")),
        () = progress.all.notified() => {}
    }
    clear(url).await?;
    Ok(Figures::from([("per_second".to_owned(), progress.per_second()?)]))
}

/// Fills the queue with the bare client, since pushing takes long.
async fn fill(url: &str, count: usize) -> anyhow::Result<()> {
    let connection = raw::connect(url).await?;
    let channel = connection.create_channel().await?;
    raw::declare(&channel, QUEUE).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    raw::send(&channel, QUEUE, 256, count, serde_json::to_string(&payload())?.as_bytes()).await
}

async fn clear(url: &str) -> anyhow::Result<()> {
    let connection = raw::connect(url).await?;
    raw::delete(&connection.create_channel().await?, QUEUE).await
}
