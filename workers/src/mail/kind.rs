//! The kinds of mails, with what each is about.

use serde::{Deserialize, Serialize};
use store::{customers::Account, domain::Order, token::Token, verifications::Verification};

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

/// The template of [`Mail::Welcome`], as [`Template::as_str`].
pub const WELCOME: &str = "welcome";

/// A mail; `shop` is the merchant's display name.
#[derive(Debug, Clone, Copy)]
pub enum Mail<'a> {
    /// To the customer of an order.
    Order { order: &'a Order, template: Template, shop: &'a str },
    /// To a customer who has registered.
    Welcome { account: &'a Account, shop: &'a str },
    /// To the address of a request, before an account or a new password is valid. With the token, unless it only says
    /// that the address has an account already.
    Verification {
        verification: &'a Verification,
        account: Option<&'a Account>,
        token: &'a Token,
        shop: &'a str,
    },
}

impl Mail<'_> {
    /// Id of the order, customer or verification that the mail is about.
    pub fn subject(&self) -> String {
        match self {
            Self::Order { order, .. } => order.id.to_string(),
            Self::Welcome { account, .. } => account.id.to_string(),
            Self::Verification { verification, .. } => verification.id.to_string(),
        }
    }

    pub fn template(&self) -> &'static str {
        match self {
            Self::Order { template, .. } => template.as_str(),
            Self::Welcome { .. } => WELCOME,
            Self::Verification { verification, .. } if verification.purpose.is_reset() => "password_reset",
            Self::Verification { account: Some(_), .. } => "account_exists",
            Self::Verification { .. } => "verify_address",
        }
    }

    /// Address and name. The name is left out until the address is verified: another person may have entered it.
    pub(super) fn recipient(&self) -> (&str, &str) {
        let customer = match self {
            Self::Order { order, .. } => &order.customer,
            Self::Welcome { account, .. } | Self::Verification { account: Some(account), .. } => {
                &account.customer
            }
            Self::Verification { verification, .. } => return (&verification.email, ""),
        };
        (&customer.email, &customer.name)
    }
}
