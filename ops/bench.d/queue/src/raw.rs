//! The pieces of the bare client, the limit for all others.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::{StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};

use crate::figures::{BODY_BYTES, Figures};

const QUEUE: &str = "raw";
/// Confirms in flight where their number is not measured.
const WINDOW: usize = 256;
/// Unacknowledged messages of a consumer, the prefetch of Orderworks' worker at its concurrency here.
pub(crate) const PREFETCH: u16 = 2560;

pub(crate) async fn connect(url: &str) -> anyhow::Result<Connection> {
    Ok(Connection::connect(url, ConnectionProperties::default()).await?)
}

/// Returns a channel in confirm mode; declares an empty durable quorum queue.
async fn fresh(connection: &Connection, queue: &str) -> anyhow::Result<Channel> {
    let channel = connection.create_channel().await?;
    delete(&channel, queue).await?;
    declare(&channel, queue).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

pub(crate) async fn declare(channel: &Channel, queue: &str) -> anyhow::Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, arguments).await?;
    Ok(())
}

/// Deletes a queue with its messages; one that does not exist counts as deleted.
pub(crate) async fn delete(channel: &Channel, queue: &str) -> anyhow::Result<()> {
    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    Ok(())
}

/// Publishes `count` persistent messages with `window` of them unconfirmed at a time; returns when all are confirmed.
pub(crate) async fn send(
    channel: &Channel,
    queue: &str,
    window: usize,
    count: usize,
    body: &[u8],
) -> anyhow::Result<()> {
    let properties = BasicProperties::default().with_delivery_mode(2);
    let mut unconfirmed = FuturesUnordered::new();
    let acked = |confirm: lapin::Result<Confirmation>| {
        ensure!(matches!(confirm?, Confirmation::Ack(None)), "a message was refused");
        anyhow::Ok(())
    };
    for _ in 0..count {
        if unconfirmed.len() >= window {
            acked(unconfirmed.next().await.context("a window holds something")?)?;
        }
        let sent = channel.basic_publish(
            "".into(),
            queue.into(),
            BasicPublishOptions::default(),
            body,
            properties.clone(),
        );
        unconfirmed.push(sent.await?);
    }
    while let Some(confirm) = unconfirmed.next().await {
        acked(confirm)?;
    }
    Ok(())
}

pub(crate) async fn publish(url: &str, window: usize, count: usize) -> anyhow::Result<Figures> {
    let connection = connect(url).await?;
    let channel = fresh(&connection, QUEUE).await?;
    let body = [b'x'; BODY_BYTES];
    send(&channel, QUEUE, window, count / 10, &body).await?;
    let began = Instant::now();
    send(&channel, QUEUE, window, count, &body).await?;
    let taken = began.elapsed();
    delete(&channel, QUEUE).await?;
    Ok(Figures::from([("per_second".to_owned(), count as f64 / taken.as_secs_f64())]))
}

pub(crate) async fn consume(url: &str, ack_every: usize, count: usize) -> anyhow::Result<Figures> {
    let connection = connect(url).await?;
    let channel = fresh(&connection, QUEUE).await?;
    // More than are counted, so that the queue does not run empty towards the end.
    let stored = count / 10 + count + 2 * usize::from(PREFETCH);
    send(&channel, QUEUE, WINDOW, stored, &[b'x'; BODY_BYTES]).await?;
    let figures = take(&channel, QUEUE, ack_every, count).await?;
    delete(&channel, QUEUE).await?;
    Ok(figures)
}

/// Consumes the first messages of a queue filled by another piece.
pub(crate) async fn backlog(url: &str, queue: &str, count: usize, keep: bool) -> anyhow::Result<Figures> {
    let connection = connect(url).await?;
    let channel = connection.create_channel().await?;
    let figures = take(&channel, queue, 64, count).await?;
    if !keep {
        delete(&channel, queue).await?;
    }
    Ok(figures)
}

/// Measures after a warm-up of a tenth.
async fn take(channel: &Channel, queue: &str, ack_every: usize, count: usize) -> anyhow::Result<Figures> {
    let warm_up = count / 10;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut deliveries = channel.basic_consume(queue.into(), "raw".into(), options, none).await?;
    let multiple = BasicAckOptions { multiple: ack_every > 1 };
    let mut began = Instant::now();
    for number in 1..=warm_up + count {
        let delivery = deliveries.next().await.context("the subscription ended")??;
        if number % ack_every == 0 {
            channel.basic_ack(delivery.delivery_tag, multiple).await?;
        }
        if number == warm_up {
            began = Instant::now();
        }
    }
    Ok(Figures::from([("per_second".to_owned(), count as f64 / began.elapsed().as_secs_f64())]))
}

/// Uses two connections, as publisher and worker do.
pub(crate) async fn latency(url: &str, rate: u32, count: usize) -> anyhow::Result<Figures> {
    let (publishing, consuming) = (connect(url).await?, connect(url).await?);
    let sender = fresh(&publishing, QUEUE).await?;
    let receiver = consuming.create_channel().await?;
    receiver.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut deliveries = receiver.basic_consume(QUEUE.into(), "raw".into(), options, none).await?;
    let origin = Instant::now();
    let receiving = async {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let delivery = deliveries.next().await.context("the subscription ended")??;
            let sent = delivery.data.first_chunk().context("a message of another kind")?;
            taken.push(origin.elapsed().saturating_sub(Duration::from_nanos(u64::from_le_bytes(*sent))));
            receiver.basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await?;
        }
        anyhow::Ok(taken)
    };
    let sending = async {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        let mut unconfirmed = FuturesUnordered::new();
        for _ in 0..count {
            ticks.tick().await;
            let mut body = [b'x'; BODY_BYTES];
            body[..8].copy_from_slice(&nanos(origin).to_le_bytes());
            let properties = BasicProperties::default().with_delivery_mode(2);
            let options = BasicPublishOptions::default();
            unconfirmed
                .push(sender.basic_publish("".into(), QUEUE.into(), options, &body, properties).await?);
        }
        while let Some(confirm) = unconfirmed.next().await {
            confirm?;
        }
        anyhow::Ok(())
    };
    let (taken, ()) = tokio::try_join!(receiving, sending)?;
    delete(&sender, QUEUE).await?;
    percentiles(taken)
}

pub(crate) fn nanos(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Median and 99th percentile, the first tenth left out as warm-up.
pub(crate) fn percentiles(mut taken: Vec<Duration>) -> anyhow::Result<Figures> {
    taken.drain(..taken.len() / 10);
    let [p50, p99] = bench_report::percentiles(taken).context("nothing was measured")?;
    Ok(Figures::from([("p50_ms".to_owned(), p50), ("p99_ms".to_owned(), p99)]))
}
