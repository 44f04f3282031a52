//! Job that mails the customer: one mail per order and template, and one per partial refund.
//!
//! The steps, and what a crash after each of them leaves:
//! 1. check whether the mail is recorded: then nothing is sent;
//! 2. hand it to the mail server: a crash after this sends it again, under the same Message-ID, by which mail systems
//!    recognise repetitions. SMTP offers nothing better: mail is at least once;
//! 3. record it: recording again changes nothing.

use jobs::{Job, JobContext, JobError};
use serde::{Deserialize, Serialize};
use store::{
    domain::OrderId,
    orders::{MailRecord, MailSubject},
};

use super::not_found;
use crate::{
    env::Env,
    mail::{Mail, MailError, Template},
    queues::EMAIL,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendEmail {
    pub order: OrderId,
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
        if is_recorded(env, self.order.into(), &self.template.name()).await? {
            return Ok(());
        }
        let Some(order) = env.orders.order_by_id(self.order).await? else {
            return Err(not_found(ctx, "order"));
        };
        let shop = env.orders.merchant_name(order.merchant).await?.unwrap_or_default();
        let mail = Mail::Order { order: &order, template: self.template, shop: &shop };
        env.mailer.send(&mail, ctx.ambient.now()).await.map_err(send_failure)?;
        record(ctx, self.order.into(), &mail).await
    }
}

pub(super) async fn is_recorded(env: &Env, subject: MailSubject, template: &str) -> Result<bool, JobError> {
    Ok(env.orders.mails(subject).await?.iter().any(|mail| mail.template == template))
}

/// Records a mail that the mail server has taken.
pub(super) async fn record(
    ctx: &JobContext<Env>,
    subject: MailSubject,
    mail: &Mail<'_>,
) -> Result<(), JobError> {
    let record = MailRecord {
        template: mail.template(),
        message_id: ctx.env.mailer.message_id(mail),
        sent_at: ctx.ambient.now(),
    };
    ctx.env.orders.record_mail(subject, record).await?;
    Ok(())
}

pub(super) fn send_failure(error: MailError) -> JobError {
    if error.is_permanent() {
        return JobError::cancel(error);
    }
    if let MailError::Authentication { .. } = error {
        tracing::error!(alarm = true, "mail server rejected credentials");
    }
    JobError::retry(error)
}
