//! Mails the customer: one mail per order and template.
//!
//! The steps, and what a crash after each of them leaves:
//! 1. look whether it is recorded: then nothing is sent;
//! 2. hand it to the mail server: a crash after this sends it again, under the same Message-ID, by which mail systems
//!    tell repetitions. SMTP offers nothing better: mail is at least once;
//! 3. record it: recording again changes nothing.

use jobs::{Job, JobContext, JobError};
use serde::{Deserialize, Serialize};
use store::{domain::OrderId, orders::MailRecord};

use crate::{
    env::Env,
    mail::{MailError, OrderMail, Template},
    registry::EMAIL,
};

/// Sends one mail about an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendEmail {
    /// The order.
    pub order: OrderId,
    /// Which mail.
    pub template: Template,
}

impl Job for SendEmail {
    type Env = Env;
    const KIND: &'static str = "send_email";
    const QUEUE: &'static str = EMAIL;

    fn subject(&self) -> Option<String> {
        Some(self.order.to_string())
    }

    async fn run(&self, ctx: &JobContext<Env>) -> Result<(), JobError> {
        let env = &ctx.env;
        let template = self.template.as_str();
        if env.orders.mails(self.order).await?.iter().any(|mail| mail.template == template) {
            return Ok(());
        }
        let Some(order) = env.orders.order_by_id(self.order).await? else {
            return Err(JobError::cancel("order_not_found"));
        };
        let shop = env.orders.merchant_name(order.merchant).await?.unwrap_or_default();
        let message_id = env.mailer.message_id(self.order, self.template);
        let mail = OrderMail { order: &order, template: self.template, shop: &shop };
        env.mailer.send(&mail, ctx.ambient.now()).await.map_err(failure)?;
        let sent_at = ctx.ambient.now();
        let record = MailRecord { template: template.to_owned(), message_id, sent_at };
        env.orders.record_mail(self.order, record).await?;
        Ok(())
    }
}

fn failure(error: MailError) -> JobError {
    if error.is_permanent() {
        return JobError::cancel(error);
    }
    if let MailError::Authentication { .. } = error {
        tracing::error!(alarm = true, "the mail server refuses our credentials");
    }
    JobError::retry(error)
}
