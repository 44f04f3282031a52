//! Broker queues and exchanges.
//!
//! Per job queue: one work queue per priority (`ow.<queue>.<priority>.v2`) and one dead queue (`ow.<queue>.dead`); for
//! all of them: a delay queue per rung of the ladder, with a fanout exchange of the same name (`ow.delay.<ms>ms.v2`). A
//! message enters a rung by its exchange with the work queue's name as routing key. The rung has no routing key of its
//! own to dead-letter with, so the message keeps its key, by which the default exchange routes it home when it expires.
//! All are quorum queues and dead-letter with confirms (at-least-once), which requires `reject-publish`: a message
//! whose work queue is missing when it expires, or has not started after a restart, stays in the rung, and the broker
//! tries again every three minutes, or as `dead_letter_worker_publisher_confirm_timeout` says.
//!
//! Arguments cannot be changed on an existing queue, so their version is part of the name: a release that changes them
//! raises it and drains the older names (`admin::older`). A name without a version is version 1. A queue of the current
//! name with other arguments was declared by another program: an error, never silently used.

use std::time::Duration;

use lapin::{
    Channel, Connection, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::time::{sleep, timeout};

use super::{
    fault::{self, ANSWER_TIMEOUT, ENGINE, NOT_FOUND, PRECONDITION_FAILED, answer, broken, unavailable},
    ladder::RUNGS,
};
use crate::{
    engine::{CRASHES_MAX, EngineError},
    job::Priority,
};

/// Delivery limit of a dead queue, where each message that the job store could not take is returned. It is never
/// reached, but without a limit a returned message goes to the end of the queue, behind younger ones.
const LOOKS_MAX: i64 = 1_000_000_000;

/// Delay before a missing job queue is declared. RabbitMQ 3.10 moves the consumers of a deleted queue to one that is
/// declared under its name in the same moment, and then loses count of their deliveries: none arrives, and the messages
/// are held until the connection ends. After this time it has told the consumers that their queue is gone.
const QUEUE_GONE: Duration = Duration::from_secs(1);

/// Topic exchange of events. Its name is part of the contract with outside consumers.
pub(crate) const EVENTS_EXCHANGE: &str = "orderworks.events";

pub(crate) fn work_queue(queue: &str, class: Priority) -> String {
    format!("ow.{queue}.{class}.v2")
}

/// The name of a work queue before the current version.
pub(crate) fn older_work_queue(queue: &str, class: Priority) -> String {
    format!("ow.{queue}.{class}")
}

pub(crate) fn dead_queue(queue: &str) -> String {
    format!("ow.{queue}.dead")
}

/// The delay queue of a rung, and its exchange.
pub(crate) fn delay_name(rung: usize) -> String {
    format!("ow.delay.{}ms.v2", RUNGS[rung])
}

/// The job queue of a broker queue's name.
pub(crate) fn job_queue_of(name: &str) -> &str {
    let name = name.strip_prefix("ow.").unwrap_or(name);
    name.split_once('.').map_or(name, |(queue, _)| queue)
}

/// A broker queue with its arguments.
struct QueueShape {
    name: String,
    arguments: FieldTable,
}

/// All broker queues of one job queue.
fn shapes(queue: &str) -> Vec<QueueShape> {
    let dead = dead_queue(queue);
    let work = Priority::ALL.into_iter().map(|class| QueueShape {
        name: work_queue(queue, class),
        arguments: forwarding(
            Some(&dead),
            ("x-delivery-limit", AMQPValue::LongLongInt(i64::from(CRASHES_MAX))),
        ),
    });
    let mut arguments = quorum();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(LOOKS_MAX));
    let dead = QueueShape { name: dead.clone(), arguments };
    // The dead queue first: a message dead-lettered before it exists would be lost.
    std::iter::once(dead).chain(work).collect()
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments
}

/// Arguments of a quorum queue that dead-letters messages over a limit or a TTL, with confirms.
fn forwarding(to: Option<&str>, (name, value): (&str, AMQPValue)) -> FieldTable {
    let mut arguments = quorum();
    let mut text = |name: &str, value: &str| {
        arguments.insert(name.into(), AMQPValue::LongString(value.into()));
    };
    text("x-dead-letter-exchange", "");
    text("x-dead-letter-strategy", "at-least-once");
    text("x-overflow", "reject-publish");
    if let Some(to) = to {
        text("x-dead-letter-routing-key", to);
    }
    arguments.insert(name.into(), value);
    arguments
}

fn rung_shape(rung: usize) -> QueueShape {
    let delay = i64::try_from(RUNGS[rung]).unwrap_or(i64::MAX);
    let arguments = forwarding(None, ("x-message-ttl", AMQPValue::LongLongInt(delay)));
    QueueShape { name: delay_name(rung), arguments }
}

/// Declares everything of the job queue. A channel that returned an error is closed by the server.
pub(crate) async fn declare(channel: &Channel, queue: &str) -> Result<(), EngineError> {
    for shape in &shapes(queue) {
        declare_one(channel, queue, shape).await?;
    }
    Ok(())
}

/// Returns an error for a broker before 3.10, by declaring a queue with an argument that it does not accept. Whether
/// dead-lettering is at least once on a later one cannot be asked (`docs/QUEUE_ENGINES.md`).
pub(crate) async fn check_version(channel: &Channel) -> Result<(), EngineError> {
    declare_rung(channel, 0).await.map(drop)
}

/// Declares a rung of the delay ladder; returns the number of messages in it.
pub(crate) async fn declare_rung(channel: &Channel, rung: usize) -> Result<u64, EngineError> {
    let shape = rung_shape(rung);
    declare_exchange(channel, &shape.name, ExchangeKind::Fanout).await?;
    let messages = declare_one(channel, "delay", &shape).await?;
    let (exchange, queue): (ShortString, ShortString) =
        (shape.name.as_str().into(), shape.name.as_str().into());
    let bound =
        channel.queue_bind(queue, exchange, "".into(), QueueBindOptions::default(), FieldTable::default());
    fault::answer(bound).await.map(|()| messages)
}

/// Declares an exchange by which messages are published: that of events, or one of a rung.
pub(crate) async fn declare_named(channel: &Channel, exchange: &str) -> Result<(), EngineError> {
    match (0..RUNGS.len()).find(|rung| delay_name(*rung) == exchange) {
        Some(rung) => declare_rung(channel, rung).await.map(drop),
        None => declare_exchange(channel, exchange, ExchangeKind::Topic).await,
    }
}

async fn declare_exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<(), EngineError> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    fault::answer(channel.exchange_declare(name.into(), kind, durable, FieldTable::default())).await
}

/// Declares a broker queue; returns the number of its ready messages.
async fn declare_one(channel: &Channel, queue: &str, shape: &QueueShape) -> Result<u64, EngineError> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let declared = channel.queue_declare(shape.name.as_str().into(), options, shape.arguments.clone());
    match timeout(ANSWER_TIMEOUT, declared).await {
        Ok(Ok(queue)) => Ok(u64::from(queue.message_count())),
        Ok(Err(error)) => Err(mismatch(queue, &shape.name, &error)),
        Err(_) => Err(unavailable(format!("declaration of queue `{}` timed out", shape.name))),
    }
}

fn mismatch(queue: &str, name: &str, error: &lapin::Error) -> EngineError {
    if fault::code(error) != Some(PRECONDITION_FAILED) {
        return broken(error);
    }
    let text = error.to_string();
    // "PRECONDITION_FAILED - inequivalent arg 'x' for queue 'q' in vhost '/': received 'a' but current is 'b'"
    match text.split_once("inequivalent arg ") {
        Some((_, difference)) => {
            EngineError::Topology { queue: queue.to_owned(), difference: format!("`{name}`: {difference}") }
        }
        // "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'q' in vhost '/' of queue type .."
        None => EngineError::Denied {
            engine: ENGINE,
            detail: format!("queue `{name}` refused, RabbitMQ 3.10 or later is needed: {text}"),
        },
    }
}

/// Ready messages of a broker queue; `None` when the queue does not exist, in which case the server closes the channel.
pub(crate) async fn count(channel: &Channel, name: &str) -> Result<Option<u64>, EngineError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let asked = channel.queue_declare(name.into(), passive, FieldTable::default());
    match timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(queue)) => Ok(Some(u64::from(queue.message_count()))),
        Ok(Err(error)) if fault::code(&error) == Some(NOT_FOUND) => Ok(None),
        Ok(Err(error)) => Err(broken(&error)),
        Err(_) => Err(unavailable("no reply from the broker in time")),
    }
}

/// Declares a job queue that was missing, after [`QUEUE_GONE`].
pub(crate) async fn declare_missing(channel: &Channel, queue: &str) -> Result<(), EngineError> {
    sleep(QUEUE_GONE).await;
    declare(channel, queue).await?;
    tracing::warn!(target = queue, "missing broker queue or exchange declared again");
    Ok(())
}

/// Declares a job queue for a consumer, which may find it missing because it was deleted under the one before.
pub(crate) async fn declare_for_consumer(connection: &Connection, queue: &str) -> Result<(), EngineError> {
    let channel = answer(connection.create_channel()).await?;
    for priority in Priority::ALL {
        if count(&channel, &work_queue(queue, priority)).await?.is_none() {
            // The question has closed the channel.
            return declare_missing(&answer(connection.create_channel()).await?, queue).await;
        }
    }
    declare(&channel, queue).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments in text form, with the name.
    fn line(shape: &QueueShape) -> String {
        let arguments = shape.arguments.inner().iter().map(|(name, value)| match value {
            AMQPValue::LongString(text) => format!(" {name}={text}"),
            AMQPValue::LongLongInt(number) => format!(" {name}={number}"),
            other => format!(" {name}={other:?}"),
        });
        format!("{}:{}", shape.name, arguments.collect::<String>())
    }

    /// A change of arguments needs another name: raise the version in it, and drain the older name.
    #[test]
    fn each_name_has_the_arguments_of_its_version() {
        let forwarding = "x-dead-letter-exchange= ";
        let work = |class: &str| {
            format!(
                "ow.mail.{class}.v2: {forwarding}x-dead-letter-routing-key=ow.mail.dead \
                 x-dead-letter-strategy=at-least-once x-delivery-limit=20 x-overflow=reject-publish \
                 x-queue-type=quorum"
            )
        };
        let dead = "ow.mail.dead: x-delivery-limit=1000000000 x-queue-type=quorum".to_owned();
        let declared: Vec<String> = shapes("mail").iter().map(line).collect();
        assert_eq!(declared, [dead, work("critical"), work("default"), work("bulk")]);
        let rung = format!(
            "ow.delay.250ms.v2: {forwarding}x-dead-letter-strategy=at-least-once x-message-ttl=250 \
             x-overflow=reject-publish x-queue-type=quorum"
        );
        assert_eq!(line(&rung_shape(0)), rung);
    }
}
