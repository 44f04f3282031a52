//! The queues and exchanges of one job queue.
//!
//! Per queue: one work queue per priority (`ow.<queue>.<priority>`), one dead queue (`ow.<queue>.dead`) and one delay
//! queue per rung (`ow.<queue>.delay.<rung>`); for all queues: one topic exchange per rung (`ow.delay.<rung>`). A
//! message enters a rung by its exchange with the work queue's name as routing key and keeps that key, so that the
//! default exchange routes it back when it expires. All are quorum queues and dead-letter with confirms
//! (at-least-once), which requires `reject-publish`.
//!
//! The arguments are the version: they cannot be changed on an existing queue, and a queue with others is an error that
//! says how to migrate, never silently used.

use std::time::Duration;

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{
    fault::{self, ANSWER_TIMEOUT, NOT_FOUND, PRECONDITION_FAILED, broken, unavailable},
    ladder::RUNGS,
};
use crate::{
    engine::{CRASHES_MAX, EngineError},
    job::Priority,
};

/// Delivery limit of a dead queue, where each scan is one return. It is never reached, but without a limit a returned
/// message goes to the end of the queue, and a scan would not see the oldest first.
const LOOKS_MAX: i64 = 1_000_000_000;

/// Topic exchange of events. Its name is part of the contract with outside consumers.
pub(crate) const EVENTS_EXCHANGE: &str = "orderworks.events";

pub(crate) fn work_queue(queue: &str, class: Priority) -> String {
    format!("ow.{queue}.{class}")
}

pub(crate) fn dead_queue(queue: &str) -> String {
    format!("ow.{queue}.dead")
}

pub(crate) fn delay_queue(queue: &str, rung: usize) -> String {
    format!("ow.{queue}.delay.{}", RUNGS[rung].0)
}

pub(crate) fn delay_exchange(rung: usize) -> String {
    format!("ow.delay.{}", RUNGS[rung].0)
}

/// A broker queue with its arguments.
pub(crate) struct QueueShape {
    pub(crate) name: String,
    pub(crate) arguments: FieldTable,
    /// Exchange and routing key bound to it.
    pub(crate) binding: Option<(String, String)>,
}

/// All broker queues of one job queue.
pub(crate) fn shapes(queue: &str) -> Vec<QueueShape> {
    let dead = dead_queue(queue);
    let work = Priority::ALL.into_iter().map(|class| QueueShape {
        name: work_queue(queue, class),
        arguments: forwarding(
            Some(&dead),
            ("x-delivery-limit", AMQPValue::LongLongInt(i64::from(CRASHES_MAX))),
        ),
        binding: None,
    });
    let delays = RUNGS.iter().enumerate().map(|(rung, (_, delay))| QueueShape {
        name: delay_queue(queue, rung),
        arguments: forwarding(None, ("x-message-ttl", AMQPValue::LongLongInt(millis(*delay)))),
        binding: Some((delay_exchange(rung), format!("ow.{queue}.*"))),
    });
    let mut arguments = quorum();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(LOOKS_MAX));
    let dead = QueueShape { name: dead.clone(), arguments, binding: None };
    // The dead queue first: a message dead-lettered before it exists would be lost.
    std::iter::once(dead).chain(work).chain(delays).collect()
}

pub(crate) fn quorum() -> FieldTable {
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

fn millis(delay: Duration) -> i64 {
    i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)
}

/// Declares everything of the job queue. A channel that returned an error is closed by the server.
pub(crate) async fn declare(channel: &Channel, queue: &str) -> Result<(), EngineError> {
    for rung in 0..RUNGS.len() {
        declare_exchange(channel, &delay_exchange(rung)).await?;
    }
    for shape in &shapes(queue) {
        declare_one(channel, queue, shape).await?;
    }
    Ok(())
}

/// A durable topic exchange.
pub(crate) async fn declare_exchange(channel: &Channel, name: &str) -> Result<(), EngineError> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let none = FieldTable::default();
    fault::answer(channel.exchange_declare(name.into(), ExchangeKind::Topic, durable, none)).await
}

pub(crate) async fn declare_one(
    channel: &Channel,
    queue: &str,
    shape: &QueueShape,
) -> Result<(), EngineError> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let name: ShortString = shape.name.as_str().into();
    let declared = channel.queue_declare(name.clone(), options, shape.arguments.clone());
    match tokio::time::timeout(ANSWER_TIMEOUT, declared).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(mismatch(queue, &shape.name, &error)),
        Err(_) => return Err(unavailable(format!("declaration of queue `{}` timed out", shape.name))),
    }
    if let Some((exchange, key)) = &shape.binding {
        let (exchange, key) = (exchange.as_str().into(), key.as_str().into());
        let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
        fault::answer(channel.queue_bind(name, exchange, key, bind, none)).await?;
    }
    Ok(())
}

fn mismatch(queue: &str, name: &str, error: &lapin::Error) -> EngineError {
    if fault::code(error) != Some(PRECONDITION_FAILED) {
        return broken(error);
    }
    let text = error.to_string();
    // "PRECONDITION_FAILED - inequivalent arg 'x' for queue 'q' in vhost '/': received 'a' but current is 'b'"
    let difference = text.split_once("inequivalent arg ").map_or(text.as_str(), |(_, difference)| difference);
    EngineError::Topology {
        queue: queue.to_owned(),
        difference: format!("`{name}`: {difference}"),
        remedy: format!("stop its workers and run `orderworks migrate --queue {queue}`"),
    }
}

/// Ready messages of a broker queue; `None` when the queue does not exist, in which case the server closes the channel.
pub(crate) async fn count(channel: &Channel, name: &str) -> Result<Option<u64>, EngineError> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let asked = channel.queue_declare(name.into(), passive, FieldTable::default());
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(queue)) => Ok(Some(u64::from(queue.message_count()))),
        Ok(Err(error)) if fault::code(&error) == Some(NOT_FOUND) => Ok(None),
        Ok(Err(error)) => Err(broken(&error)),
        Err(_) => Err(unavailable("no reply from the broker in time")),
    }
}
