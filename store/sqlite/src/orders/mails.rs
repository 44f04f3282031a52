//! [`Mails`]: the record of sent mails.

use async_trait::async_trait;
use store::{
    error::Result,
    orders::{MailRecord, MailSubject, Mails},
    rules::rows,
};

use super::SqliteOrders;

const OF_ORDER: &str =
    "SELECT template, message_id, sent_at FROM mails WHERE order_id = ?1 ORDER BY sent_at, template";
const OF_CUSTOMER: &str = "
    SELECT template, message_id, sent_at FROM customer_mails WHERE customer_id = ?1 ORDER BY sent_at, template";
const RECORD_OF_ORDER: &str = "
    INSERT INTO mails (order_id, template, message_id, sent_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
const RECORD_OF_CUSTOMER: &str = "
    INSERT INTO customer_mails (customer_id, template, message_id, sent_at)
    SELECT id, ?2, ?3, ?4 FROM customers WHERE id = ?1 ON CONFLICT DO NOTHING";

#[async_trait]
impl Mails for SqliteOrders {
    async fn mails(&self, subject: MailSubject) -> Result<Vec<MailRecord>> {
        let sql = match subject {
            MailSubject::Order(_) => OF_ORDER,
            MailSubject::Customer(_) => OF_CUSTOMER,
        };
        self.all(sqlx::query(sql).bind(subject.to_string()), rows::mail).await
    }

    async fn record_mail(&self, subject: MailSubject, mail: MailRecord) -> Result<bool> {
        let sql = match subject {
            MailSubject::Order(_) => RECORD_OF_ORDER,
            MailSubject::Customer(_) => RECORD_OF_CUSTOMER,
        };
        let query = sqlx::query(sql)
            .bind(subject.to_string())
            .bind(mail.template)
            .bind(mail.message_id)
            .bind(mail.sent_at.as_millisecond());
        Ok(self.run(query).await? > 0)
    }
}
