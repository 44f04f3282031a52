//! What can go wrong with the broker, and how it looks from outside.

use std::time::Duration;

use base::ErrorClass;
use lapin::ErrorKind;

use crate::engine::EngineError;

pub(super) const ENGINE: &str = "rabbitmq";
/// Longest wait for the answer to one method.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Reply codes of AMQP 0-9-1, section 1.8, that are told apart here.
pub(super) const ACCESS_REFUSED: u16 = 403;
pub(super) const NOT_FOUND: u16 = 404;
pub(super) const PRECONDITION_FAILED: u16 = 406;
pub(super) const NOT_ALLOWED: u16 = 530;
const NO_CONSUMERS: u16 = 313;
const CONNECTION_FORCED: u16 = 320;
const RESOURCE_LOCKED: u16 = 405;
const CHANNEL_ERROR: u16 = 504;
const RESOURCE_ERROR: u16 = 506;
const INTERNAL_ERROR: u16 = 541;
/// Characters kept of an error text in a header.
const ERROR_CHARS_MAX: usize = 2000;

pub(super) fn unavailable(detail: impl Into<String>) -> EngineError {
    EngineError::Unavailable { engine: ENGINE, detail: detail.into(), source: None }
}

/// An error of the connection or channel, once connected.
pub(super) fn broken(error: &lapin::Error) -> EngineError {
    EngineError::new(classify(error), ENGINE, error.clone())
}

/// The class of an error by its reply code (AMQP 0-9-1, section 1.8): what another connection or a moment may cure, or a
/// mistake in what was asked.
pub(super) fn classify(error: &lapin::Error) -> ErrorClass {
    match error.kind() {
        ErrorKind::IOError(_)
        | ErrorKind::RuntimeShutdownError(_)
        | ErrorKind::MissingHeartbeatError
        | ErrorKind::InvalidChannel(_)
        | ErrorKind::InvalidChannelState(..)
        | ErrorKind::InvalidConnectionState(_)
        // Bytes that do not parse: what comes over this connection is not AMQP any more.
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
pub(super) fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// An answer within [`ANSWER_TIMEOUT`].
pub(super) async fn answer<T>(asked: impl Future<Output = lapin::Result<T>>) -> Result<T, EngineError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(answer) => answer.map_err(|error| broken(&error)),
        Err(_) => Err(unavailable("the broker did not answer in time")),
    }
}

/// Cuts an error text to what a header may keep.
pub(super) fn bounded(error: &str) -> String {
    error.chars().take(ERROR_CHARS_MAX).collect()
}
