//! [`Mails`]: the record of sent mails.

use async_trait::async_trait;
use store::{
    error::Result,
    orders::{MailRecord, MailSubject, Mails},
    rules::rows,
};

use super::{PostgresOrders, router::ReadMode, timestamps::Moment};

pub(super) const OF_ORDER: &str =
    "SELECT template, message_id, sent_at FROM mails WHERE order_id = $1 ORDER BY sent_at, template";
pub(super) const OF_CUSTOMER: &str = "
    SELECT template, message_id, sent_at FROM customer_mails WHERE customer_id = $1 ORDER BY sent_at, template";
const RECORD_OF_ORDER: &str = "
    INSERT INTO mails (order_id, template, message_id, sent_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
// Locked, because the account may be deleted at this moment.
const RECORD_OF_CUSTOMER: &str = "
    INSERT INTO customer_mails (customer_id, template, message_id, sent_at)
    SELECT id, $2, $3, $4 FROM customers WHERE id = $1 FOR KEY SHARE ON CONFLICT DO NOTHING";

#[async_trait]
impl Mails for PostgresOrders {
    async fn mails(&self, subject: MailSubject) -> Result<Vec<MailRecord>> {
        let query = || match subject {
            MailSubject::Order(id) => sqlx::query(OF_ORDER).bind(id.0),
            MailSubject::Customer(id) => sqlx::query(OF_CUSTOMER).bind(id.0),
        };
        Ok(self.router.rows(subject, ReadMode::Primary, query, rows::mail).await?)
    }

    async fn record_mail(&self, subject: MailSubject, mail: MailRecord) -> Result<bool> {
        let query = || {
            let query = match subject {
                MailSubject::Order(id) => sqlx::query(RECORD_OF_ORDER).bind(id.0),
                MailSubject::Customer(id) => sqlx::query(RECORD_OF_CUSTOMER).bind(id.0),
            };
            query.bind(&mail.template).bind(&mail.message_id).bind(Moment(mail.sent_at))
        };
        Ok(self.router.run(subject, query).await? > 0)
    }
}
