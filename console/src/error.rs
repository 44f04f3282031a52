//! Errors of requests: what a visitor is told, and what only the log is.
//!
//! An answer carries its [`Problem`] as an extension; [`crate::edge`] renders it as a page or as
//! `application/problem+json`. No text of a store or driver is shown to a visitor; those of a rejected request are.

use axum::response::{IntoResponse, Response};
use base::error_class::describe;
use http::StatusCode;
use jobs::{bulk::OperationError, engine::EngineError, schedule::ScheduleError};
use store::StoreError;

use crate::access::Role;

/// The error of a request.
#[derive(Debug)]
pub(crate) enum ConsoleError {
    /// No session and no token, or none that is known.
    SignIn,
    /// The bearer's role may not do this.
    Forbidden(Role),
    /// A form that another site has sent.
    OtherSite,
    /// The request says something that cannot be.
    Input(String),
    /// There is no such thing.
    NotFound(String),
    /// Not possible as things are.
    Conflict(String),
    /// A server is away or busy.
    Unavailable(String),
    /// The page took longer than it may.
    TooSlow,
    /// A defect, which the log tells.
    Defect(String),
}

/// What a visitor is told.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    pub(crate) detail: String,
}

impl ConsoleError {
    fn problem(self) -> Problem {
        let told = |status, title, detail: &str| Problem { status, title, detail: detail.to_owned() };
        match self {
            Self::SignIn => told(
                StatusCode::UNAUTHORIZED,
                "Not signed in",
                "sign in with a token, or send it as `Authorization: Bearer`",
            ),
            Self::Forbidden(role) => {
                let detail = format!("this needs the role {}", role.as_str());
                told(StatusCode::FORBIDDEN, "Not allowed", &detail)
            }
            Self::OtherSite => told(
                StatusCode::FORBIDDEN,
                "Sent by another site",
                "forms are accepted from pages of this console only: open the page here and send it again",
            ),
            Self::Input(detail) => told(StatusCode::BAD_REQUEST, "Not understood", &detail),
            Self::NotFound(detail) => told(StatusCode::NOT_FOUND, "Not found", &detail),
            Self::Conflict(detail) => told(StatusCode::CONFLICT, "Not possible now", &detail),
            Self::Unavailable(error) => {
                tracing::warn!(error, "console request not answered");
                let detail = "a server or store is away or busy: reload the page in a moment";
                told(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", detail)
            }
            Self::TooSlow => {
                let detail = "the page took too long: narrow it down by a filter";
                told(StatusCode::GATEWAY_TIMEOUT, "Too slow", detail)
            }
            Self::Defect(error) => {
                tracing::error!(error, "console request failed");
                let detail = "an error that the log of the console tells";
                told(StatusCode::INTERNAL_SERVER_ERROR, "Failed", detail)
            }
        }
    }
}

impl IntoResponse for ConsoleError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let mut response = problem.status.into_response();
        response.extensions_mut().insert(problem);
        response
    }
}

impl From<EngineError> for ConsoleError {
    fn from(error: EngineError) -> Self {
        match &error {
            EngineError::NoSuchQueue(_) => Self::NotFound(error.to_string()),
            EngineError::Refused(_) | EngineError::NotUnique { .. } => Self::Conflict(error.to_string()),
            _ if error.is_transient() || matches!(error, EngineError::Closed) => {
                Self::Unavailable(describe(&error))
            }
            _ => Self::Defect(describe(&error)),
        }
    }
}

impl From<StoreError> for ConsoleError {
    fn from(error: StoreError) -> Self {
        let text = describe(&error);
        if error.class().is_transient() { Self::Unavailable(text) } else { Self::Defect(text) }
    }
}

impl From<OperationError> for ConsoleError {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::Store(error) => error.into(),
            OperationError::Plan(why) => Self::Input(why),
            OperationError::Unknown(_) => Self::NotFound(error.to_string()),
            OperationError::Unreadable { .. } => Self::Conflict(error.to_string()),
            error => Self::Conflict(describe(&error)),
        }
    }
}

impl From<ScheduleError> for ConsoleError {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::Store(error) => error.into(),
            ScheduleError::Unknown { .. } => Self::NotFound(error.to_string()),
            error => Self::Conflict(describe(&error)),
        }
    }
}

impl From<askama::Error> for ConsoleError {
    fn from(error: askama::Error) -> Self {
        Self::Defect(describe(&error))
    }
}
