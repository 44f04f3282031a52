//! Products and stock. `available = on_hand - reserved`, never below zero.

use async_trait::async_trait;
use base::{Timestamp, TraceContext};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Currency, MerchantId, Page, PageRequest},
    error::Result,
    names::names,
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
    /// Units reserved by open orders and by carts, part of `on_hand`.
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

/// Filter of a product listing; an empty filter lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProductFilter {
    pub category: Option<String>,
    /// Only products of which each word of this text begins a word of the name or sku, or the rest of one, whatever the
    /// letter case, the accents and the normal form; see [`crate::rules::search`]. A text without letters and digits
    /// finds nothing.
    pub text: Option<String>,
    pub price: Option<PriceFilter>,
    /// Only products of which a unit can be ordered.
    pub in_stock: bool,
}

/// Only products of this currency with a price from `min_minor` to `max_minor`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceFilter {
    pub currency: Currency,
    /// 0 to [`AMOUNT_MINOR_MAX`](crate::domain::AMOUNT_MINOR_MAX), in minor units.
    pub min_minor: i64,
    /// 0 to [`AMOUNT_MINOR_MAX`](crate::domain::AMOUNT_MINOR_MAX), in minor units.
    pub max_minor: i64,
}

/// Order of a product listing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProductSort {
    /// By the bytes of the sku.
    #[default]
    Sku,
    /// Cheapest first, then by sku. Needs [`ProductFilter::price`], which names the currency; without one the order is
    /// [`Self::Sku`].
    Price,
    /// The reverse of [`Self::Price`], equal prices by sku in descending order.
    PriceDescending,
}

names!(ProductSort, "order of products", { Sku => "sku", Price => "price", PriceDescending => "-price" });

/// Position after a product. It holds the price that the product had on the page, so that a list by price goes on at
/// the same place when the price changes, or the product leaves the list, between two pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductCursor {
    /// 0 where the order is by sku.
    pub price_minor: i64,
    pub sku: String,
}

impl ProductCursor {
    /// The position after this product in the order.
    pub fn after(product: &Product, sort: ProductSort) -> Self {
        let price_minor = if sort == ProductSort::Sku { 0 } else { product.price_minor };
        Self { price_minor, sku: product.sku.clone() }
    }
}

/// Products read at most to count [`ProductFacets`].
pub const FACET_PRODUCTS_MAX: u32 = 10_000;
/// Categories in [`ProductFacets`] at most: those with most products.
pub const FACET_CATEGORIES_MAX: usize = 50;

/// Counts of the products that a filter finds, by what a listing can be narrowed to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductFacets {
    /// Products found.
    pub products: u64,
    /// Those of which a unit can be ordered.
    pub in_stock: u64,
    /// At most [`FACET_CATEGORIES_MAX`], most products first, then by slug.
    pub categories: Vec<Category>,
    /// By currency code.
    pub prices: Vec<PriceFacet>,
    /// False when more than [`FACET_PRODUCTS_MAX`] products are found; the counts are then those of so many of them.
    pub is_complete: bool,
}

/// Prices in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceFacet {
    pub currency: Currency,
    /// Products with a price in it.
    pub products: u64,
    /// In minor units.
    pub lowest_minor: i64,
    /// In minor units.
    pub highest_minor: i64,
}

/// Products counted of a category by [`Catalog::categories`], at most: every first load of a page lists the categories.
pub const CATEGORY_PRODUCTS_MAX: u32 = 1_000;

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

    /// Products in an order; the cursor is the position of the last product of the page before. A product that is
    /// neither changed nor sold between two pages is on exactly one of them.
    async fn products(
        &self,
        merchant: MerchantId,
        filter: &ProductFilter,
        sort: ProductSort,
        page: PageRequest<ProductCursor>,
    ) -> Result<Page<Product>>;

    /// Counts of the products that the filter finds.
    async fn facets(&self, merchant: MerchantId, filter: &ProductFilter) -> Result<ProductFacets>;

    /// All categories (at most 1000), by slug; of each, products are counted up to [`CATEGORY_PRODUCTS_MAX`].
    async fn categories(&self, merchant: MerchantId) -> Result<Vec<Category>>;
}
