//! [`Mails`]: which mails were sent.

use async_trait::async_trait;

use super::{
    SqliteOrders,
    fault::{Fault, get, time},
};
use crate::{
    domain::OrderId,
    error::StoreError,
    orders::{MailRecord, Mails},
};

#[async_trait]
impl Mails for SqliteOrders {
    async fn mails(&self, order: OrderId) -> Result<Vec<MailRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT template, message_id, sent_at FROM mails WHERE order_id = ?1 ORDER BY sent_at, template",
        )
        .bind(order.to_string())
        .fetch_all(self.database.readers())
        .await
        .map_err(Fault::from)?;
        let mail = |row| {
            Ok::<_, Fault>(MailRecord {
                template: get(row, "template")?,
                message_id: get(row, "message_id")?,
                sent_at: time(row, "sent_at")?,
            })
        };
        Ok(rows.iter().map(mail).collect::<Result<_, _>>()?)
    }

    async fn record_mail(&self, order: OrderId, mail: MailRecord) -> Result<bool, StoreError> {
        let unit = self.database.write(move |c| {
            Box::pin(async move {
                let done = sqlx::query(
                    "INSERT INTO mails (order_id, template, message_id, sent_at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO NOTHING",
                )
                .bind(order.to_string())
                .bind(mail.template)
                .bind(mail.message_id)
                .bind(mail.sent_at.as_millisecond())
                .execute(c)
                .await?;
                Ok::<_, Fault>(done.rows_affected() > 0)
            })
        });
        Ok(unit.await?)
    }
}
