//! Products and stock. `available = on_hand - reserved`, never below zero.

use async_trait::async_trait;
use base::{Timestamp, TraceContext};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Currency, MerchantId, Page, PageRequest},
    error::Result,
};

/// A product with its stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Stock keeping unit, unique per merchant, `[A-Za-z0-9._-]{1,64}`.
    pub sku: String,
    pub name: String,
    /// Longer display text.
    pub description: Option<String>,
    /// Slug, `[a-z0-9-]{1,64}`.
    pub category: String,
    /// Price per unit, in minor units of `currency`.
    pub price_minor: i64,
    pub currency: Currency,
    /// Units in stock.
    pub on_hand: i64,
    /// Units reserved by open orders, part of `on_hand`.
    pub reserved: i64,
    /// Threshold: `inventory.low` is written when `available` falls to this.
    pub low_stock_at: i64,
    /// Last change of the product or its stock.
    pub updated_at: Timestamp,
}

impl Product {
    /// Units that can still be ordered.
    pub fn available(&self) -> i64 {
        self.on_hand - self.reserved
    }
}

/// The fields of a product that a merchant writes; stock is set by [`Catalog::put_inventory`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductData {
    pub sku: String,
    pub name: String,
    pub description: Option<String>,
    pub category: String,
    pub price_minor: i64,
    pub currency: Currency,
    pub low_stock_at: i64,
}

/// Filter of a product listing; an empty filter lists all, by sku.
#[derive(Debug, Clone, Default)]
pub struct ProductFilter {
    pub category: Option<String>,
    /// Only products whose name or sku contains this text, ASCII case ignored.
    pub text: Option<String>,
}

/// A category with the number of its products.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    pub slug: String,
    pub products: u64,
}

/// Result of [`Catalog::put_inventory`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InventoryPut {
    /// Set; `inventory.updated` (and `inventory.low`, if the threshold was crossed) is in the outbox.
    Set(Product),
    /// Less than the units reserved by open orders; nothing changed.
    BelowReserved {
        /// Units reserved.
        reserved: i64,
    },
    /// No such product of this merchant.
    NoSuchProduct,
}

/// Products, categories and stock.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// Creates or replaces a product (stock untouched; 0 for a new one). True when it is new.
    async fn put_product(
        &self,
        merchant: MerchantId,
        product: ProductData,
        at: Timestamp,
    ) -> Result<(Product, bool)>;

    /// Sets the units in stock.
    async fn put_inventory(
        &self,
        merchant: MerchantId,
        sku: &str,
        on_hand: i64,
        at: Timestamp,
        trace: Option<TraceContext>,
    ) -> Result<InventoryPut>;

    /// One product.
    async fn product(&self, merchant: MerchantId, sku: &str) -> Result<Option<Product>>;

    /// Products by sku; the cursor is the last sku of the page before.
    async fn products(
        &self,
        merchant: MerchantId,
        filter: &ProductFilter,
        page: PageRequest<String>,
    ) -> Result<Page<Product>>;

    /// All categories (at most 1000), by slug.
    async fn categories(&self, merchant: MerchantId) -> Result<Vec<Category>>;
}
