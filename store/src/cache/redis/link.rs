//! The connection, and whether it is well.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::{Ambient, Timestamp};
use redis::{
    Client, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ScriptInvocation, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::time::{Instant, timeout};

use crate::cache::Health;

/// While the server is away: how often a question is used to find out whether it is back.
const TRY_EVERY: Duration = Duration::from_millis(250);

pub(super) struct Link {
    client: Client,
    command_timeout: Duration,
    connect_timeout: Duration,
    ambient: Ambient,
    state: Mutex<State>,
}

struct State {
    manager: ConnectionManager,
    trouble: Option<Trouble>,
    try_at: Instant,
}

/// The server does not answer.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) since: Timestamp,
    pub(super) detail: String,
}

impl Link {
    pub(super) fn new(
        client: Client,
        command_timeout: Duration,
        connect_timeout: Duration,
        ambient: Ambient,
    ) -> RedisResult<Self> {
        let manager = manager(&client, command_timeout, connect_timeout)?;
        let state = State { manager, trouble: None, try_at: Instant::now() };
        Ok(Self { client, command_timeout, connect_timeout, ambient, state: Mutex::new(state) })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Trouble> {
        let mut manager = self.connection()?;
        self.judge(timeout(self.patience(), command.query_async(&mut manager)).await)
    }

    /// By its hash; the source is sent when the server does not know it yet.
    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Trouble> {
        let mut manager = self.connection()?;
        self.judge(timeout(self.patience(), script.invoke_async(&mut manager)).await)
    }

    pub(super) fn health(&self) -> Health {
        match &self.state().trouble {
            None => Health::Up,
            Some(trouble) => Health::Down { since: trouble.since, detail: trouble.detail.clone() },
        }
    }

    /// Reports trouble, once; also for the listener's connection, which notices first.
    pub(super) fn fail(&self, detail: String) -> Trouble {
        let mut state = self.state();
        state.try_at = Instant::now() + TRY_EVERY;
        if let Some(known) = &state.trouble {
            return Trouble { since: known.since, detail };
        }
        tracing::warn!(detail, "redis does not answer");
        let trouble = Trouble { since: self.ambient.now(), detail };
        state.trouble = Some(trouble.clone());
        trouble
    }

    /// The connection to ask on; while there is trouble, a new one for who tries next and none for the others.
    fn connection(&self) -> Result<ConnectionManager, Trouble> {
        let mut state = self.state();
        let Some(trouble) = &state.trouble else { return Ok(state.manager.clone()) };
        if Instant::now() < state.try_at {
            return Err(trouble.clone());
        }
        // The manager itself does not give up a connection on which the answers merely time out.
        match manager(&self.client, self.command_timeout, self.connect_timeout) {
            Ok(fresh) => {
                state.try_at = Instant::now() + TRY_EVERY;
                state.manager = fresh;
                Ok(state.manager.clone())
            }
            Err(error) => Err(Trouble { since: trouble.since, detail: error.to_string() }),
        }
    }

    fn patience(&self) -> Duration {
        self.connect_timeout + self.command_timeout
    }

    fn judge<T>(&self, answer: Result<RedisResult<T>, tokio::time::error::Elapsed>) -> Result<T, Trouble> {
        match answer {
            Ok(Ok(value)) => {
                self.succeed();
                Ok(value)
            }
            Ok(Err(error)) if is_about_one_question(&error) => {
                tracing::error!(%error, "redis refuses a question");
                Err(Trouble { since: self.ambient.now(), detail: error.to_string() })
            }
            Ok(Err(error)) => Err(self.fail(error.to_string())),
            Err(_) => Err(self.fail("no answer in time".to_owned())),
        }
    }

    fn succeed(&self) {
        let ended = self.state().trouble.take();
        if let Some(trouble) = ended {
            tracing::info!(since = %trouble.since, "redis answers again");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lazy: connecting is part of the first question and bounded by its timeouts.
fn manager(client: &Client, command: Duration, connect: Duration) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_response_timeout(Some(command))
        .set_connection_timeout(Some(connect))
        .set_number_of_retries(0)
        .set_pipeline_buffer_size(1024);
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}

/// A mistake in a question or a damaged value says nothing of the server.
fn is_about_one_question(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedReturnType
            | ErrorKind::Server(ServerErrorKind::ResponseError)
            | ErrorKind::Extension
    )
}
