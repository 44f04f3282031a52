//! Total of an order: its lines and the adjustments of discounts, shipping and taxes.
//!
//! Amounts are decided by the merchant's hooks; the store only adds them up and keeps them with the order.

use std::iter;

use serde::{Deserialize, Serialize};

use super::sum;
use crate::names::names;

/// Adjustments of one kind in an order at most.
pub const ADJUSTMENTS_PER_KIND_MAX: usize = 20;
/// Characters of a label at most.
pub const ADJUSTMENT_LABEL_MAX: usize = 100;

/// A kind of adjustment, in the order in which they are decided: shipping may depend on discounts, taxes on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdjustmentKind {
    /// Zero or less.
    Discount,
    /// Zero or more.
    Shipping,
    /// Zero or more; tax that prices hold already is none.
    Tax,
}

names!(AdjustmentKind, "kind of adjustment", { Discount => "discount", Shipping => "shipping", Tax => "tax" });

/// An amount beside the lines of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    pub kind: AdjustmentKind,
    /// Shown to the customer: one line of at most [`ADJUSTMENT_LABEL_MAX`] characters.
    pub label: String,
    /// In minor units of the order's currency.
    pub amount_minor: i64,
}

/// The adjustments of an order, and the lines that they were decided for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pricing {
    /// Sum of the lines; an order whose lines come to another sum is rejected.
    pub subtotal_minor: i64,
    /// In the order of their kinds.
    pub adjustments: Vec<Adjustment>,
}

impl Pricing {
    /// What the order comes to; `None` below zero or beyond [`super::AMOUNT_MINOR_MAX`].
    pub fn total_minor(&self) -> Option<i64> {
        let amounts = self.adjustments.iter().map(|adjustment| adjustment.amount_minor);
        sum(iter::once(self.subtotal_minor).chain(amounts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::AMOUNT_MINOR_MAX;

    #[test]
    fn totals_are_sums_within_bounds() {
        let total = |subtotal_minor, amounts: &[i64]| {
            let adjustment = |amount: &i64| Adjustment {
                kind: AdjustmentKind::Tax,
                label: "a".to_owned(),
                amount_minor: *amount,
            };
            Pricing { subtotal_minor, adjustments: amounts.iter().map(adjustment).collect() }.total_minor()
        };
        assert_eq!(total(1000, &[]), Some(1000));
        assert_eq!(total(1000, &[-250, 490, 236]), Some(1476));
        assert_eq!(total(1000, &[-1000]), Some(0));
        assert_eq!(total(1000, &[-1001]), None);
        assert_eq!(total(AMOUNT_MINOR_MAX, &[1]), None);
        assert_eq!(total(1, &[i64::MAX]), None);
        assert_eq!(total(AMOUNT_MINOR_MAX, &[-1, 1]), Some(AMOUNT_MINOR_MAX));
    }
}
