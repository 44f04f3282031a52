//! Arguments of `merchant` and `key`.

use base::Timestamp;
use clap::{Args, Subcommand, ValueEnum};
use store::{
    admission::{RoomOrder, SaleSwitch},
    checkout::HookOtherwise,
    domain::{AdjustmentKind, KeyId, MerchantId},
    merchants::KeyScope,
};

use super::values::{self, ReserveMinutes};

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
    /// Show what a merchant has chosen for its checkout, or change what is given; API processes follow in 10 seconds
    Checkout {
        /// `mer_…`
        id: MerchantId,
        /// Minutes for which a cart reserves its items, 1 to 60, or `off`
        #[arg(long, value_name = "MINUTES", value_parser = values::reserve_minutes)]
        reserve: Option<ReserveMinutes>,
    },
    /// Set or remove the hook that decides the discounts, shipping or taxes of a merchant's orders; the secret of a new
    /// one is shown this once
    Hook {
        /// `mer_…`
        id: MerchantId,
        /// `discount`, `shipping` or `tax`
        kind: AdjustmentKind,
        /// Where it is asked, by https
        #[arg(long, required_unless_present = "off")]
        url: Option<String>,
        /// What follows where it does not answer: `nothing` of the kind, or `refuse` the order
        #[arg(long, default_value_t = HookOtherwise::Nothing, conflicts_with = "off")]
        otherwise: HookOtherwise,
        /// Remove the hook
        #[arg(long, conflicts_with = "url")]
        off: bool,
    },
    /// Show a merchant and its keys
    Show {
        /// `mer_…`
        id: MerchantId,
    },
    /// Show or change the sale mode of a merchant: whether shoppers go through the waiting room
    Sale(SaleArgs),
}

/// What is not given stays as it was.
#[derive(Debug, Args)]
pub(crate) struct SaleArgs {
    /// `mer_…`
    pub(crate) merchant: MerchantId,
    /// Whether shoppers go through the waiting room; without it the sale mode is shown
    pub(crate) switch: Option<SaleSwitchArg>,
    /// `fifo`: first come, first served; `random`: those who come before it opens are drawn by lot
    #[arg(long, requires = "switch")]
    pub(crate) order: Option<RoomOrderArg>,
    /// Shoppers admitted at the same time at most
    #[arg(long, requires = "switch", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) active: Option<u32>,
    /// Shoppers admitted per minute at most; fewer while the workers drain fewer orders
    #[arg(long, requires = "switch", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) per_minute: Option<u32>,
    /// Seconds for which an admitted shopper may order
    #[arg(long, requires = "switch", value_parser = clap::value_parser!(u32).range(60..=86_400))]
    pub(crate) active_seconds: Option<u32>,
    /// Time from which on shoppers go through the waiting room; without it at once
    #[arg(long, requires = "switch", value_name = "TIME")]
    pub(crate) begins_at: Option<Timestamp>,
    /// Time until which shoppers only gather, such as 2026-11-27T08:00:00Z
    #[arg(long, requires = "switch", value_name = "TIME")]
    pub(crate) opens_at: Option<Timestamp>,
    /// Time from which on they go through it no more
    #[arg(long, requires = "switch", value_name = "TIME")]
    pub(crate) ends_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SaleSwitchArg {
    On,
    Off,
    /// While orders wait for longer than `admission.waiting_room_age_seconds`
    ByLoad,
}

impl From<SaleSwitchArg> for SaleSwitch {
    fn from(switch: SaleSwitchArg) -> Self {
        match switch {
            SaleSwitchArg::On => Self::On,
            SaleSwitchArg::Off => Self::Off,
            SaleSwitchArg::ByLoad => Self::ByLoad,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoomOrderArg {
    Fifo,
    Random,
}

impl From<RoomOrderArg> for RoomOrder {
    fn from(order: RoomOrderArg) -> Self {
        match order {
            RoomOrderArg::Fifo => Self::Fifo,
            RoomOrderArg::Random => Self::Random,
        }
    }
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
