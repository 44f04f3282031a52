//! Errors of the broker and their mapping to [`EngineError`].

use std::time::Duration;

use base::ErrorClass;
use lapin::ErrorKind;

use crate::{engine::EngineError, error::Cause};

pub(crate) const ENGINE: &str = "rabbitmq";
/// Longest wait for the reply to one AMQP method.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Reply codes of AMQP 0-9-1, section 1.8, that are handled here.
pub(crate) const ACCESS_REFUSED: u16 = 403;
pub(crate) const NOT_FOUND: u16 = 404;
pub(crate) const PRECONDITION_FAILED: u16 = 406;
pub(crate) const NOT_ALLOWED: u16 = 530;
const NO_CONSUMERS: u16 = 313;
const CONNECTION_FORCED: u16 = 320;
const RESOURCE_LOCKED: u16 = 405;
const CHANNEL_ERROR: u16 = 504;
const RESOURCE_ERROR: u16 = 506;
const INTERNAL_ERROR: u16 = 541;

pub(crate) fn unavailable(detail: impl Into<Cause>) -> EngineError {
    EngineError::new(ErrorClass::Unavailable, ENGINE, detail)
}

/// Maps an error of an established connection or channel.
pub(crate) fn broken(error: &lapin::Error) -> EngineError {
    EngineError::new(classify(error), ENGINE, error.clone())
}

/// Classifies an error by its reply code (AMQP 0-9-1, section 1.8): transient when a new connection or a later attempt
/// may succeed, else a defect of the request.
pub(crate) fn classify(error: &lapin::Error) -> ErrorClass {
    match error.kind() {
        ErrorKind::IOError(_)
        | ErrorKind::RuntimeShutdownError(_)
        | ErrorKind::MissingHeartbeatError
        | ErrorKind::InvalidChannel(_)
        | ErrorKind::InvalidChannelState(..)
        | ErrorKind::InvalidConnectionState(_)
        // The bytes on this connection are not AMQP any more.
        | ErrorKind::ParsingError(_) => ErrorClass::Unavailable,
        ErrorKind::ChannelsLimitReached => ErrorClass::Busy,
        ErrorKind::ProtocolError(error) => match error.get_id() {
            CONNECTION_FORCED | NOT_FOUND | CHANNEL_ERROR | RESOURCE_ERROR | INTERNAL_ERROR => ErrorClass::Unavailable,
            NO_CONSUMERS | RESOURCE_LOCKED => ErrorClass::Busy,
            _ => ErrorClass::Defect,
        },
        _ => ErrorClass::Defect,
    }
}

/// The server's reply code, if it sent one.
pub(crate) fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// Waits for a reply up to [`ANSWER_TIMEOUT`].
pub(crate) async fn answer<T>(asked: impl Future<Output = lapin::Result<T>>) -> Result<T, EngineError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(answer) => answer.map_err(|error| broken(&error)),
        Err(_) => Err(unavailable("no reply from the broker in time")),
    }
}
