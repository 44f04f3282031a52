//! Arguments of `merchant` and `key`.

use clap::{Subcommand, ValueEnum};
use store::{
    domain::{KeyId, MerchantId},
    merchants::KeyScope,
};

use super::values;

#[derive(Debug, Subcommand)]
pub(crate) enum MerchantCommand {
    /// Create a merchant with a publishable and a secret key, which are shown this once
    Create {
        /// Display name, for mails
        #[arg(long, value_parser = values::name)]
        name: String,
    },
    /// List merchants, oldest first
    List {
        /// Only those after this merchant
        #[arg(long, value_name = "MERCHANT")]
        after: Option<MerchantId>,
        /// At most this many
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Show a merchant and its keys
    Show {
        /// `mer_…`
        id: MerchantId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create a key of a merchant, which is shown this once
    Create {
        /// `mer_…`
        merchant: MerchantId,
        /// `pub` for storefronts, `sec` for the merchant's servers
        #[arg(long)]
        kind: KeyKind,
        /// A note of its use, to tell keys apart
        #[arg(long, value_parser = values::name)]
        label: Option<String>,
    },
    /// List the keys of a merchant, newest first, never whole
    List {
        /// `mer_…`
        merchant: MerchantId,
    },
    /// Revoke a key for good: every API process refuses it within 10 seconds
    Revoke {
        /// `key_…`, see `key list`
        id: KeyId,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KeyKind {
    Pub,
    Sec,
}

impl From<KeyKind> for KeyScope {
    fn from(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Pub => Self::Publishable,
            KeyKind::Sec => Self::Secret,
        }
    }
}
