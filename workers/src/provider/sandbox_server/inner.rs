//! State of a sandbox server, shared by its routes.

use base::{Ambient, sqlite::Database};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

pub(super) struct SandboxInner {
    pub(super) database: Database,
    pub(super) api_key: SecretString,
    pub(super) ambient: Ambient,
    /// Cancelled when the server stops, so that deliberately unanswered calls do not delay the shutdown.
    pub(super) stopping: CancellationToken,
}
