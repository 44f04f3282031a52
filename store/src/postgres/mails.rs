//! [`Mails`]: which mails were sent.

use async_trait::async_trait;

use super::{
    PostgresOrders,
    fault::Fault,
    moment::Moment,
    row::{get, time},
};
use crate::{
    domain::OrderId,
    error::StoreError,
    orders::{MailRecord, Mails},
};

pub(super) const OF_ORDER: &str =
    "SELECT template, message_id, sent_at FROM mails WHERE order_id = $1 ORDER BY sent_at, template";

#[async_trait]
impl Mails for PostgresOrders {
    async fn mails(&self, order: OrderId) -> Result<Vec<MailRecord>, StoreError> {
        let rows = self.rows(sqlx::query(OF_ORDER).bind(order.0)).await?;
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
        let query = sqlx::query(
            "INSERT INTO mails (order_id, template, message_id, sent_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
        )
        .bind(order.0)
        .bind(mail.template)
        .bind(mail.message_id)
        .bind(Moment(mail.sent_at));
        Ok(self.run(query).await? > 0)
    }
}
