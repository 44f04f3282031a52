//! Job that mails the customer: one mail per order and template, and one per partial refund.
//!
//! The steps, and what a crash after each of them leaves:
//! 1. check whether the mail is recorded: then nothing is sent;
//! 2. hand it to the mail server: a crash after this sends it again, under the same Message-ID, by which mail systems
//!    recognise repetitions. SMTP offers nothing better: mail is at least once;
//! 3. record it: recording again changes nothing.

use std::time::Duration;

use base::time::between;
use jobs::{Backoff, Job, JobError};
use serde::{Deserialize, Serialize};
use store::{
    domain::OrderId,
    orders::{MailRecord, MailSubject},
};

use super::{Result, not_found};
use crate::{
    env::{Context, Env},
    mail::{Mail, MailError, Template},
    queues::EMAIL,
};

/// Time for which an unreachable mail server is waited for without using attempts. The attempts afterwards keep the
/// mail for as long again, and then it is dead and can be redriven. RFC 5321, section 4.5.4.1: "at least 4-5 days".
const OUTAGE_MAX: Duration = Duration::from_hours(5 * 24);
const OUTAGE_WAIT_MIN: Duration = Duration::from_secs(2);
/// RFC 5321, section 4.5.4.1: "at least 30 minutes"; how late the end of a long outage is noticed.
const OUTAGE_WAIT_MAX: Duration = Duration::from_mins(30);
/// Attempts at a mail that the server postpones; 5.3 days of [`MAIL_BACKOFF`].
pub(super) const MAIL_ATTEMPTS_MAX: u32 = 40;
pub(super) const MAIL_BACKOFF: Backoff = Backoff::Table(&[
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    // Most servers that postpone the first mail of a sender take it now.
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(2),
    Duration::from_hours(4),
]);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendEmail {
    pub order: OrderId,
    pub template: Template,
    /// Domain of the recipient, where mails are limited by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

impl Job for SendEmail {
    type Env = Env;
    const KIND: &'static str = "send_email";
    const QUEUE: &'static str = EMAIL;
    const MAX_ATTEMPTS: u32 = MAIL_ATTEMPTS_MAX;
    const BACKOFF: Backoff = MAIL_BACKOFF;

    fn subject(&self) -> Option<String> {
        Some(self.order.to_string())
    }

    async fn run(&self, ctx: &Context) -> Result<()> {
        let env = &ctx.env;
        if is_recorded(env, self.order.into(), &self.template.name()).await? {
            return Ok(());
        }
        let Some(order) = env.orders.order_by_id(self.order).await? else {
            return Err(not_found(ctx, "order"));
        };
        if order.customer.is_erased() {
            return Ok(());
        }
        let shop = env.orders.merchant_name(order.merchant).await?.unwrap_or_default();
        let mail = Mail::Order { order: &order, template: self.template, shop: &shop };
        env.mailer.send(&mail, ctx.ambient.now()).await.map_err(|error| send_failure(ctx, error))?;
        record(ctx, self.order.into(), &mail).await
    }
}

pub(super) async fn is_recorded(env: &Env, subject: MailSubject, template: &str) -> Result<bool> {
    Ok(env.orders.mails(subject).await?.iter().any(|mail| mail.template == template))
}

/// Records a mail that the mail server has taken.
pub(super) async fn record(ctx: &Context, subject: MailSubject, mail: &Mail<'_>) -> Result<()> {
    let record = MailRecord {
        template: mail.template(),
        message_id: ctx.env.mailer.message_id(mail),
        sent_at: ctx.ambient.now(),
    };
    ctx.env.orders.record_mail(subject, record).await?;
    Ok(())
}

/// Next step of a job whose mail was not taken. While the mail server cannot be reached the job snoozes, each time for
/// half of its age: attempts are for mails that the server postpones.
pub(super) fn send_failure(ctx: &Context, error: MailError) -> JobError {
    if error.is_permanent() {
        return JobError::cancel(error);
    }
    let age = between(ctx.created_at, ctx.ambient.now());
    if error.is_outage() && age < OUTAGE_MAX {
        let wait = (age / 2).clamp(OUTAGE_WAIT_MIN, OUTAGE_WAIT_MAX);
        return JobError::Snooze(wait + ctx.ambient.jitter(wait / 10));
    }
    JobError::retry(error)
}
