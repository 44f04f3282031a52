//! Deletion of RabbitMQ's own objects by its management API, under the processes that use them. The product declares
//! them again; the test never does.
//!
//! Promised: no job is lost. A consumer whose queue is gone declares it when it starts again, and a message that misses
//! its delay exchange, or the binding behind it, has it declared and is published again.
//!
//! Not promised, and not done: keeping the jobs of a deleted queue. The broker refuses to delete a quorum queue on
//! condition (`if-empty`), a count is no lock, and it confirms messages on their way to a queue that is being deleted.
//! So the queues deleted are those of priorities that no job of the product has. Consumers subscribe to them beside the
//! queues in use, and lose their deliveries of all priorities with them. (`verify --repair` publishes lost jobs again,
//! but also those that a defect has lost, so a fault run must not need it.) A purge deletes accepted jobs, or nothing;
//! delay queues and the mailboxes of dead jobs may hold jobs at any time.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::{RECOVERY_MAX, plan::BrokerObject};
use crate::util::Vhost;

/// Job queues of priorities that no job of the product has.
const UNUSED: [&str; 7] = [
    "ow.payments.bulk.v2",
    "ow.fulfilment.critical.v2",
    "ow.fulfilment.bulk.v2",
    "ow.email.critical.v2",
    "ow.email.bulk.v2",
    "ow.webhooks.critical.v2",
    "ow.webhooks.bulk.v2",
];
/// Beginning of the names of delay exchanges.
const DELAYS: &str = "ow.delay.";
/// Time since its start before which the broker deletes no queue. RabbitMQ before 3.10.20 has a process for the dead
/// letters of each queue, under a supervisor that two of their crashes end. Deleting a queue whose process is just
/// starting, as after a restart, crashes it twice; then each queue that has not started yet never does, and its
/// channels end with `INTERNAL_ERROR` until the next restart. No client can repair that: see `docs/QUEUE_ENGINES.md`.
const SETTLED_MS: u64 = 10_000;
/// Delay between two questions to the management API, which announces nothing.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Deletes an object, or all of its kind. Returns once a deleted queue is declared again; exchanges and bindings are
/// missed by the next message only.
pub(super) async fn delete(vhost: &Vhost, object: BrokerObject, which: usize) {
    let deletion = async {
        match object {
            BrokerObject::JobQueue => delete_queue(vhost, UNUSED[which % UNUSED.len()]).await,
            BrokerObject::DelayExchanges => {
                delete_delays(vhost, |name| format!("exchanges/{{}}/{name}")).await;
            }
            BrokerObject::DelayBindings => {
                // The queue of a delay has its exchange's name; `~` stands for the empty routing key.
                delete_delays(vhost, |name| format!("bindings/{{}}/e/{name}/q/{name}/~")).await;
            }
        }
    };
    timeout(RECOVERY_MAX, deletion).await.expect("the product declares what it misses");
}

async fn delete_queue(vhost: &Vhost, name: &str) {
    until_settled(vhost).await;
    let path = format!("queues/{{}}/{name}");
    let (_, queue) = ask(vhost, Method::GET, &path).await;
    assert_eq!(queue["messages"].as_u64().unwrap_or_default(), 0, "`{name}` has jobs: delete another queue");
    ask(vhost, Method::DELETE, &path).await;
    while ask(vhost, Method::GET, &path).await.0 == StatusCode::NOT_FOUND {
        sleep(ASK_EVERY).await;
    }
}

async fn until_settled(vhost: &Vhost) {
    loop {
        let (_, nodes) = ask(vhost, Method::GET, "nodes?columns=uptime").await;
        if nodes[0]["uptime"].as_u64().is_some_and(|uptime| uptime > SETTLED_MS) {
            return;
        }
        sleep(ASK_EVERY).await;
    }
}

/// Deletes an object of each delay that has one, by its path; waits for the first to exist.
async fn delete_delays(vhost: &Vhost, path: impl Fn(&str) -> String) {
    loop {
        let mut deleted = false;
        let (_, exchanges) = ask(vhost, Method::GET, "exchanges/{}?columns=name").await;
        let names =
            exchanges.as_array().into_iter().flatten().filter_map(|exchange| exchange["name"].as_str());
        for name in names.filter(|name| name.starts_with(DELAYS)) {
            let (status, _) = ask(vhost, Method::DELETE, &path(name)).await;
            deleted |= status.is_success();
        }
        if deleted {
            return;
        }
        sleep(ASK_EVERY).await;
    }
}

/// Asks until there is an answer: success, or that there is no such object. Others come from a server that is about to
/// stop or has just started.
async fn ask(vhost: &Vhost, method: Method, path: &str) -> (StatusCode, Value) {
    loop {
        if let Some((status, body)) = vhost.ask(method.clone(), path).await
            && (status.is_success() || status == StatusCode::NOT_FOUND)
        {
            return (status, body);
        }
        sleep(ASK_EVERY).await;
    }
}
