//! The opening of a session: connection, check of the schema, preparation of the statements.

use base::Ambient;

use super::{
    CassandraConfig,
    connect::{self, Result, unavailable},
    schema,
    session::PaymentSession,
    statements::Statements,
};

/// Connects to a migrated keyspace and prepares the statements.
pub(super) async fn open(config: &CassandraConfig, ambient: Ambient) -> Result<PaymentSession> {
    let session = connect::session(config).await?;
    schema::check(&session, config).await?;
    session.use_keyspace(&config.keyspace, false).await.map_err(unavailable("choosing the keyspace"))?;
    let statements =
        Statements::prepare(&session, config).await.map_err(unavailable("preparing a statement"))?;
    Ok(PaymentSession::new(session, statements, ambient, config.call_timeout))
}
