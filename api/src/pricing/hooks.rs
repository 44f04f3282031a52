//! The client of hooks and the bound of its calls.

use std::sync::Arc;

use store::domain::MerchantId;
use webhooks::HookCaller;

use crate::slots::KeyedSlots;

/// Calls of one merchant's hooks at once, per process.
pub(super) const CALLS_PER_MERCHANT_MAX: usize = 64;

/// What calls hooks; one per process.
pub(crate) struct Hooks {
    pub(super) caller: HookCaller,
    pub(super) calls: Arc<KeyedSlots<MerchantId>>,
}

impl Hooks {
    pub(crate) fn new(caller: HookCaller) -> Self {
        Self { caller, calls: KeyedSlots::new(CALLS_PER_MERCHANT_MAX) }
    }
}
