//! The kinds of mails, with what each is about.

use serde::{Deserialize, Serialize};
use store::{customers::Account, domain::Order, token::Token, verifications::Verification};

/// The mails about orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Template {
    /// The order is paid; lists its items.
    OrderConfirmation,
    /// The payment was declined for good.
    PaymentFailed,
    OrderCancelled,
    /// The order is fully refunded.
    OrderRefunded,
}

impl Template {
    pub const ALL: [Self; 4] =
        [Self::OrderConfirmation, Self::PaymentFailed, Self::OrderCancelled, Self::OrderRefunded];

    /// The name in records, payloads, Message-IDs and file names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderConfirmation => "order_confirmation",
            Self::PaymentFailed => "payment_failed",
            Self::OrderCancelled => "order_cancelled",
            Self::OrderRefunded => "order_refunded",
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct OrderMail<'a> {
    /// The order, its customer the recipient.
    pub order: &'a Order,
    pub template: Template,
    /// The merchant's display name.
    pub shop: &'a str,
}

/// The template of [`WelcomeMail`], as [`Template::as_str`].
pub const WELCOME: &str = "welcome";

/// A mail to a customer who has registered.
#[derive(Debug, Clone, Copy)]
pub struct WelcomeMail<'a> {
    /// The recipient.
    pub account: &'a Account,
    pub shop: &'a str,
}

/// A mail with the token that verifies an address.
#[derive(Debug, Clone, Copy)]
pub struct VerificationMail<'a> {
    /// The verification request; its address is the recipient.
    pub verification: &'a Verification,
    pub account: Option<&'a Account>,
    /// The token, shown unless the mail only says that the account exists.
    pub token: &'a Token,
    pub shop: &'a str,
}

impl VerificationMail<'_> {
    /// Whether the mail says that the address has an account already.
    pub(super) fn is_known(&self) -> bool {
        self.account.is_some() && !self.verification.purpose.is_reset()
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Mail<'a> {
    Order(OrderMail<'a>),
    Welcome(WelcomeMail<'a>),
    /// Before an account or a new password is valid.
    Verification(VerificationMail<'a>),
}

impl Mail<'_> {
    /// Id of the order, customer or verification that the mail is about.
    pub fn subject(&self) -> String {
        match self {
            Self::Order(mail) => mail.order.id.to_string(),
            Self::Welcome(mail) => mail.account.id.to_string(),
            Self::Verification(mail) => mail.verification.id.to_string(),
        }
    }

    pub fn template(&self) -> &'static str {
        match self {
            Self::Order(mail) => mail.template.as_str(),
            Self::Welcome(_) => WELCOME,
            Self::Verification(mail) if mail.is_known() => "account_exists",
            Self::Verification(mail) if mail.verification.purpose.is_reset() => "password_reset",
            Self::Verification(_) => "verify_address",
        }
    }

    /// Address and name. The name is left out until the address is verified: another person may have entered it.
    pub(super) fn recipient(&self) -> (&str, &str) {
        let customer = match self {
            Self::Order(mail) => &mail.order.customer,
            Self::Welcome(mail) => &mail.account.customer,
            Self::Verification(VerificationMail { account: Some(account), .. }) => &account.customer,
            Self::Verification(mail) => return (&mail.verification.email, ""),
        };
        (&customer.email, &customer.name)
    }
}
