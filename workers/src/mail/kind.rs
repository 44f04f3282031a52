//! The kinds of mails, with what each is about.

use serde::{Deserialize, Serialize};
use store::{
    customers::Account,
    domain::{Order, RefundId},
    token::Token,
    verifications::Verification,
};

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
    /// A part of the order's price is refunded: a mail for each such refund.
    PartialRefund {
        refund: RefundId,
        amount_minor: i64,
    },
}

impl Template {
    /// The name in payloads.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderConfirmation => "order_confirmation",
            Self::PaymentFailed => "payment_failed",
            Self::OrderCancelled => "order_cancelled",
            Self::OrderRefunded => "order_refunded",
            Self::PartialRefund { .. } => "partial_refund",
        }
    }

    /// The name in records, Message-IDs and file names: one per mail of an order.
    pub fn name(self) -> String {
        if let Self::PartialRefund { refund, .. } = self {
            return format!("{}.{refund}", self.as_str());
        }
        self.as_str().to_owned()
    }
}

/// The template of [`Mail::Welcome`], as [`Template::name`].
pub const WELCOME: &str = "welcome";

/// All that [`Mail::kind`] may be.
pub(super) const KINDS: [&str; 9] = [
    "order_confirmation",
    "payment_failed",
    "order_cancelled",
    "order_refunded",
    "partial_refund",
    WELCOME,
    "verify_address",
    "account_exists",
    "password_reset",
];

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

    /// The name in records, Message-IDs and file names: one per mail of a subject.
    pub fn template(&self) -> String {
        match self {
            Self::Order { template, .. } => template.name(),
            _ => self.kind().to_owned(),
        }
    }

    /// The name without what it is about: one of [`KINDS`].
    pub(super) fn kind(&self) -> &'static str {
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
