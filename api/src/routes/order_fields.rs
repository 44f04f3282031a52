//! Fields that orders, carts and checkouts have in common.

use serde::Deserialize;
use serde_json::Value;
use store::{
    domain::{Address, Customer},
    orders::NewLine,
};
use utoipa::ToSchema;

use crate::{input::Report, problem::FieldError};

const QUANTITY_MAX: u32 = 10_000;

/// The customer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderCreateCustomer {
    #[schema(format = "email", max_length = 254, example = "ada@example.com")]
    email: String,
    #[schema(format = "line-without-link", min_length = 1, max_length = 200, example = "Ada Lovelace")]
    name: String,
}

impl From<OrderCreateCustomer> for Customer {
    fn from(OrderCreateCustomer { email, name }: OrderCreateCustomer) -> Self {
        Self { email, name }
    }
}

/// The shipping address.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderCreateAddress {
    #[schema(format = "line-without-link", min_length = 1, max_length = 200)]
    name: String,
    #[schema(format = "line-without-link", min_length = 1, max_length = 200)]
    line1: String,
    #[schema(format = "line-without-link", min_length = 1, max_length = 200)]
    line2: Option<String>,
    #[schema(format = "line-without-link", min_length = 1, max_length = 100)]
    city: String,
    #[schema(format = "line-without-link", min_length = 1, max_length = 20)]
    postal_code: String,
    /// An assigned ISO 3166-1 alpha-2 code.
    #[schema(format = "country", example = "DE")]
    country: String,
}

impl From<OrderCreateAddress> for Address {
    fn from(address: OrderCreateAddress) -> Self {
        let OrderCreateAddress { name, line1, line2, city, postal_code, country } = address;
        Self { name, line1, line2, city, postal_code, country }
    }
}

/// An ordered product.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderCreateItem {
    #[schema(format = "sku", example = "mug-blue")]
    sku: String,
    #[schema(minimum = 1, maximum = 10000, example = 2)]
    quantity: u32,
}

/// Items merged to one line per sku.
pub(super) struct Lines {
    pub(super) lines: Vec<NewLine>,
    /// For each line the index of the first item it came from.
    pub(super) item_of_line: Vec<usize>,
}

/// # Errors
/// The first item with which its sku exceeds [`QUANTITY_MAX`].
pub(super) fn merge(items: Vec<OrderCreateItem>) -> Result<Lines, FieldError> {
    let (mut lines, mut item_of_line) = (Vec::<NewLine>::with_capacity(items.len()), Vec::new());
    for (index, OrderCreateItem { sku, quantity }) in items.into_iter().enumerate() {
        let Some(line) = lines.iter_mut().find(|line| line.sku == sku) else {
            lines.push(NewLine { sku, quantity });
            item_of_line.push(index);
            continue;
        };
        line.quantity = line.quantity.saturating_add(quantity);
        if line.quantity > QUANTITY_MAX {
            let detail = format!("all items of this sku together exceed {QUANTITY_MAX}");
            return Err(FieldError::new(format!("/items/{index}/quantity"), "out_of_range", detail));
        }
    }
    Ok(Lines { lines, item_of_line })
}

/// Reports items that cannot be merged.
pub(super) fn check_items(valid: &Value, report: &Report) {
    if let Ok(items) = Vec::deserialize(&valid["items"])
        && let Err(fault) = merge(items)
    {
        report.add(fault.pointer, fault.code, fault.detail);
    }
}
