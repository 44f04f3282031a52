//! The delay ladder, declared ahead of its use while this handle consumes.
//!
//! A rung is declared by the first message that needs it, too. But messages need new rungs just when much fails, and a
//! quorum queue that is created within a second before a crash of RabbitMQ 3.10 may find no leader after the restart:
//! its messages, and those published to it, wait for the next one. So a ladder that is old by then is the safer one.

use std::{sync::Weak, time::Duration};

use tokio::time::sleep;

use crate::{error::describe, rabbitmq::client::RabbitClient};

/// Time after the start of the handle, and between attempts. Long, since a program that soon ends needs no ladder, and
/// a broker whose queues are deleted while it creates them may lose what passes on delays that have ended (RabbitMQ
/// before 3.10.20).
const DECLARE_AFTER: Duration = Duration::from_secs(10);

/// Runs until all rungs are declared, or the engine handle is dropped.
pub(crate) async fn run(client: Weak<RabbitClient>) {
    loop {
        sleep(DECLARE_AFTER).await;
        let Some(client) = client.upgrade() else { return };
        if client.consumed_queues().is_empty() || client.publisher.trouble().is_some() {
            continue;
        }
        match client.short_delays().await {
            Ok(_) => return,
            Err(error) => tracing::debug!(error = describe(&error), "delay ladder not declared, retrying"),
        }
    }
}
