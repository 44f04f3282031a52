//! The connection to Redis, with its health.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use base::{Ambient, ErrorClass, Timestamp};
use redis::{
    Client, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ScriptInvocation, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::time::{sleep, timeout};

use crate::Health;

/// Interval of reconnection attempts while the server is unreachable.
const TRY_EVERY: Duration = Duration::from_millis(250);
const NO_ANSWER: &str = "response timeout";

pub(super) struct Link {
    pub(super) client: Client,
    command_timeout: Duration,
    pub(super) connect_timeout: Duration,
    ambient: Ambient,
    state: Mutex<LinkState>,
    /// For the reconnecting task.
    me: Weak<Self>,
}

struct LinkState {
    manager: ConnectionManager,
    trouble: Option<Trouble>,
}

/// The error while the server does not answer.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) class: ErrorClass,
    pub(super) since: Timestamp,
    pub(super) detail: String,
}

impl Link {
    pub(super) fn new(
        client: Client,
        command_timeout: Duration,
        connect_timeout: Duration,
        ambient: Ambient,
    ) -> RedisResult<Arc<Self>> {
        let manager = manager(&client, command_timeout, connect_timeout)?;
        let state = Mutex::new(LinkState { manager, trouble: None });
        Ok(Arc::new_cyclic(|me| Self {
            client,
            command_timeout,
            connect_timeout,
            ambient,
            state,
            me: Weak::clone(me),
        }))
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Trouble> {
        let mut manager = self.connection()?;
        self.classify(timeout(self.patience(), command.query_async(&mut manager)).await)
    }

    /// Runs a script by its hash; the source is sent when the server does not know it yet.
    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Trouble> {
        let mut manager = self.connection()?;
        self.classify(timeout(self.patience(), script.invoke_async(&mut manager)).await)
    }

    pub(super) fn health(&self) -> Health {
        match &self.state().trouble {
            None => Health::Up,
            Some(trouble) => Health::Down { since: trouble.since, detail: trouble.detail.clone() },
        }
    }

    /// Records and logs the start of an outage, once, and starts the reconnecting task; also for the listener, which
    /// may notice an outage first.
    pub(super) fn fail(&self, detail: String) -> Trouble {
        let mut state = self.state();
        if let Some(known) = &state.trouble {
            return known.clone();
        }
        tracing::warn!(detail, "Redis unreachable");
        let trouble = Trouble { class: ErrorClass::Unavailable, since: self.ambient.now(), detail };
        state.trouble = Some(trouble.clone());
        tokio::spawn(reconnect_until_up(Weak::clone(&self.me)));
        trouble
    }

    /// The connection for commands; an error during an outage.
    fn connection(&self) -> Result<ConnectionManager, Trouble> {
        let state = self.state();
        state.trouble.clone().map_or_else(|| Ok(state.manager.clone()), Err)
    }

    /// Replaces the connection if a new one answers. The old one may be half-open, and a manager does not reconnect
    /// when responses merely time out.
    async fn reconnect(&self) -> Result<(), String> {
        let fresh = manager(&self.client, self.command_timeout, self.connect_timeout);
        let fresh = fresh.map_err(|error| error.to_string())?;
        let ping = redis::cmd("PING");
        match timeout(self.patience(), ping.query_async::<redis::Value>(&mut fresh.clone())).await {
            Err(_) => return Err(NO_ANSWER.to_owned()),
            Ok(answer) => answer.map_err(|error| error.to_string())?,
        };
        let mut state = self.state();
        state.manager = fresh;
        if let Some(trouble) = state.trouble.take() {
            tracing::info!(since = %trouble.since, "Redis reachable again");
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        self.connect_timeout + self.command_timeout
    }

    fn classify<T>(&self, answer: Result<RedisResult<T>, tokio::time::error::Elapsed>) -> Result<T, Trouble> {
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if is_outage(&error) => Err(self.fail(error.to_string())),
            Ok(Err(error)) => {
                tracing::error!(%error, "Redis command rejected");
                Err(Trouble {
                    class: ErrorClass::Defect,
                    since: self.ambient.now(),
                    detail: error.to_string(),
                })
            }
            Err(_) => Err(self.fail(NO_ANSWER.to_owned())),
        }
    }

    fn state(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reconnects until the server answers or the link is dropped. A task of its own, so that no caller waits for it.
async fn reconnect_until_up(link: Weak<Link>) {
    loop {
        sleep(TRY_EVERY).await;
        let Some(link) = link.upgrade() else { return };
        match link.reconnect().await {
            Ok(()) => return,
            Err(detail) => {
                if let Some(trouble) = &mut link.state().trouble {
                    trouble.detail = detail;
                }
            }
        }
    }
}

/// Connects lazily: with the first command, bounded by its timeouts.
fn manager(client: &Client, command: Duration, connect: Duration) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_response_timeout(Some(command))
        .set_connection_timeout(Some(connect))
        .set_number_of_retries(0)
        .set_pipeline_buffer_size(1024);
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}

/// Whether the server or the way to it does not work now; everything else is a defect of one command, of its value or
/// of a permission, and says nothing of the server.
fn is_outage(error: &RedisError) -> bool {
    use ServerErrorKind as S;
    matches!(
        error.kind(),
        // A reply that does not parse leaves the connection out of step.
        ErrorKind::Io
            | ErrorKind::Parse
            | ErrorKind::Client
            | ErrorKind::AuthenticationFailed
            | ErrorKind::Server(
                S::BusyLoading
                    | S::TryAgain
                    | S::ClusterDown
                    | S::MasterDown
                    | S::ReadOnly
                    | S::Moved
                    | S::Ask
            )
    )
}
