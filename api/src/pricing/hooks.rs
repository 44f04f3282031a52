//! The client of hooks, the bound of its calls and their counts.

use std::sync::Arc;

use store::domain::MerchantId;
use webhooks::HookCaller;

use super::counts::{HookCalls, HookCounts};
use crate::slots::KeyedSlots;

/// Calls of one merchant's hooks at once, per process.
pub(super) const CALLS_PER_MERCHANT_MAX: usize = 64;

/// What calls hooks; one per process.
pub(crate) struct Hooks {
    pub(super) caller: HookCaller,
    pub(super) calls: Arc<KeyedSlots<MerchantId>>,
    pub(super) counts: HookCounts,
}

impl Hooks {
    pub(crate) fn new(caller: HookCaller) -> Self {
        Self { caller, calls: KeyedSlots::new(CALLS_PER_MERCHANT_MAX), counts: HookCounts::new() }
    }

    /// Calls of this process since its start, by kind.
    pub(crate) fn counts(&self) -> impl Iterator<Item = HookCalls> {
        self.counts.all()
    }
}
