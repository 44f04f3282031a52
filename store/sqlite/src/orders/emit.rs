//! Outbox inserts: all messages of a unit of work by one statement, inside that unit.

use sqlx::SqliteConnection;
use store::rules::messages::Messages;

use super::fault::{SqliteFault, to_json};

/// Writes the messages in the order in which they were added.
pub(super) async fn write(c: &mut SqliteConnection, messages: Messages<'_>) -> Result<(), SqliteFault> {
    sqlx::query(
        "INSERT INTO outbox (id, merchant_id, subject, kind, order_id, sequence, at, data, trace)
         SELECT value ->> 'id', value ->> 'merchant', value ->> 'subject', value ->> 'kind', value ->> 'order',
                value ->> 'sequence', ?2, value -> 'data', value ->> 'trace'
         FROM json_each(?1) ORDER BY key",
    )
    .bind(to_json(&messages.rows)?)
    .bind(messages.at.as_millisecond())
    .execute(c)
    .await?;
    Ok(())
}
