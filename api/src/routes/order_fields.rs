//! Fields that orders, carts and checkouts have in common.

use store::{
    domain::{Address, Customer},
    orders::NewLine,
};

use crate::input::{
    Node, PAYMENT_METHOD, Rule, SKU, array, country, email, fields, integer, line, object, optional,
};

const ITEMS_MAX: usize = 100;
pub(super) const QUANTITY_MAX: u32 = 10_000;
const NAME_CHARS_MAX: usize = 200;

fields! {
    /// The customer.
    Customer as OrderCreateCustomer {
        email: String = email(),
        name: String = customer_name(),
    }
}

fields! {
    /// The shipping address.
    Address as OrderCreateAddress {
        name: String = line(NAME_CHARS_MAX),
        line1: String = line(200),
        line2: Option<String> = optional(line(200)),
        city: String = line(100),
        postal_code: String = line(20),
        /// An assigned ISO 3166-1 alpha-2 code.
        country: String = country(),
    }
}

fields! {
    /// An ordered product.
    NewLine as OrderCreateItem {
        sku: String = SKU.rule().described(|schema| schema.example = Some("mug-blue".into())),
        quantity: u32 = quantity(1),
    }
}

pub(super) fn customer_name() -> impl Rule<String> {
    line(NAME_CHARS_MAX).described(|schema| schema.example = Some("Ada Lovelace".into()))
}

pub(super) fn quantity(min: u32) -> impl Rule<u32> {
    integer(min..=QUANTITY_MAX).described(|schema| schema.example = Some(2.into()))
}

pub(super) fn payment_method() -> impl Rule<String> {
    PAYMENT_METHOD.rule().described(|schema| schema.example = Some("pm_card_visa".into()))
}

pub(super) fn reference() -> impl Rule<String> {
    line(100)
}

/// Items merged to one line per sku.
#[derive(Default)]
pub(super) struct Items {
    pub(super) lines: Vec<NewLine>,
    /// For each line the index of the first item it came from.
    pub(super) item_of_line: Vec<usize>,
}

pub(super) fn items() -> impl Rule<Items> {
    array(1..=ITEMS_MAX, object::<NewLine>()).then(merge)
}

fn merge(node: &Node<'_>, items: Vec<NewLine>) -> Option<Items> {
    let mut merged = Items::default();
    for (index, item) in items.into_iter().enumerate() {
        let Some(line) = merged.lines.iter_mut().find(|line| line.sku == item.sku) else {
            merged.lines.push(item);
            merged.item_of_line.push(index);
            continue;
        };
        let sum = line.quantity.checked_add(item.quantity).filter(|sum| *sum <= QUANTITY_MAX);
        let Some(sum) = sum else {
            let words = format!("all items of this sku together exceed {QUANTITY_MAX}");
            return node.fault_at(&format!("{index}/quantity"), "out_of_range", words);
        };
        line.quantity = sum;
    }
    Some(merged)
}
