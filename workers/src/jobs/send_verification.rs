//! Job that mails a verification token to a customer, who opens an account or sets a new password with it.
//!
//! The token is generated here, when the mail is rendered, and only its hash is stored: no payload and no store holds
//! it. The steps, and what a crash after each of them leaves:
//! 1. store the hash of a fresh token, unless the mail was sent, or another token was stored a moment ago: a crash
//!    after this makes the next run store another one, in place of a token that was never sent;
//! 2. hand the mail over: a crash after this sends another mail, whose token is the valid one;
//! 3. record it: recording again changes nothing.

use jobs::{Backoff, Job, JobError};
use serde::{Deserialize, Serialize};
use store::{
    domain::{MerchantId, VerificationId},
    token::{Token, TokenKind},
    verifications::Minting,
};

use super::{
    Result, not_found,
    send_email::{MAIL_ATTEMPTS_MAX, MAIL_BACKOFF, send_failure},
};
use crate::{
    env::{Context, Env},
    mail::Mail,
    queues::EMAIL,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendVerification {
    pub merchant: MerchantId,
    pub verification: VerificationId,
    /// Domain of the recipient, where mails are limited by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

impl Job for SendVerification {
    type Env = Env;
    const KIND: &'static str = "send_verification";
    const QUEUE: &'static str = EMAIL;
    const MAX_ATTEMPTS: u32 = MAIL_ATTEMPTS_MAX;
    const BACKOFF: Backoff = MAIL_BACKOFF;

    fn subject(&self) -> Option<String> {
        Some(self.verification.to_string())
    }

    async fn run(&self, ctx: &Context) -> Result<()> {
        let (env, id) = (&ctx.env, self.verification);
        let token = Token::fresh(TokenKind::Verification, &ctx.ambient);
        let minting =
            env.orders.mint_verification(self.merchant, id, token.hash(), ctx.ambient.now()).await?;
        let (verification, account) = match minting {
            Minting::Minted { verification, account } => (verification, account),
            Minting::TooSoon(wait) => return Err(JobError::Snooze(wait)),
            Minting::Mailed => return Ok(()),
            Minting::NotFound => return Err(not_found(ctx, "verification")),
        };
        // A reset without an account sends no mail: the address may belong to a person who never was a customer.
        if account.is_some() || !verification.purpose.is_reset() {
            let shop = env.orders.merchant_name(self.merchant).await?.unwrap_or_default();
            let (verification, account) = (&verification, account.as_deref());
            let mail = Mail::Verification { verification, account, token: &token, shop: &shop };
            env.mailer.send(&mail, ctx.ambient.now()).await.map_err(|error| send_failure(ctx, error))?;
        }
        env.orders.record_verification_mail(self.merchant, id, ctx.ambient.now()).await?;
        Ok(())
    }
}
