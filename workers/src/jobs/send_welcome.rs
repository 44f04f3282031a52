//! Job that mails a welcome to a registered customer, once per customer. The steps are those of [`super::send_email`].

use jobs::{Backoff, Job};
use serde::{Deserialize, Serialize};
use store::domain::CustomerId;

use super::{
    Result, not_found,
    send_email::{MAIL_ATTEMPTS_MAX, MAIL_BACKOFF, is_recorded, record, send_failure},
};
use crate::{
    env::{Context, Env},
    mail::{Mail, WELCOME},
    queues::EMAIL,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendWelcome {
    pub customer: CustomerId,
    /// Domain of the recipient, where mails are limited by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

impl Job for SendWelcome {
    type Env = Env;
    const KIND: &'static str = "send_welcome";
    const QUEUE: &'static str = EMAIL;
    const MAX_ATTEMPTS: u32 = MAIL_ATTEMPTS_MAX;
    const BACKOFF: Backoff = MAIL_BACKOFF;

    fn subject(&self) -> Option<String> {
        Some(self.customer.to_string())
    }

    async fn run(&self, ctx: &Context) -> Result<()> {
        let env = &ctx.env;
        if is_recorded(env, self.customer.into(), WELCOME).await? {
            return Ok(());
        }
        let Some(account) = env.orders.customer_by_id(self.customer).await? else {
            return Err(not_found(ctx, "customer"));
        };
        let shop = env.orders.merchant_name(account.merchant).await?.unwrap_or_default();
        let mail = Mail::Welcome { account: &account, shop: &shop };
        env.mailer.send(&mail, ctx.ambient.now()).await.map_err(|error| send_failure(ctx, error))?;
        record(ctx, self.customer.into(), &mail).await
    }
}
