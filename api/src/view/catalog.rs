//! Response bodies of products, categories and stock.

use base::Timestamp;
use serde::Serialize;
use store::catalog::{Category, Product};
use utoipa::ToSchema;

/// A product, as storefronts see it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Product)]
pub(crate) struct ProductView {
    /// Always `product`.
    #[schema(example = "product")]
    object: &'static str,
    sku: String,
    name: String,
    description: Option<String>,
    /// Slug of its category.
    category: String,
    /// Per unit, in minor units.
    price_minor: i64,
    /// ISO 4217.
    currency: String,
    /// Units that can still be ordered.
    available: i64,
    /// Last change.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// The stock of a product, as its merchant sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Inventory)]
pub(crate) struct InventoryView {
    /// Always `inventory`.
    #[schema(example = "inventory")]
    object: &'static str,
    sku: String,
    /// Units in stock.
    on_hand: i64,
    /// Units reserved for open orders.
    reserved: i64,
    /// `on_hand` less `reserved`.
    available: i64,
    /// `inventory.low` is sent when `available` falls to this.
    low_stock_at: i64,
    /// Last change.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A category.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Category)]
pub(crate) struct CategoryView {
    /// Always `category`.
    #[schema(example = "category")]
    object: &'static str,
    /// Its identifier in requests.
    slug: String,
    /// Number of products.
    products: u64,
}

impl From<Product> for ProductView {
    fn from(product: Product) -> Self {
        Self {
            object: "product",
            available: product.available(),
            sku: product.sku,
            name: product.name,
            description: product.description,
            category: product.category,
            price_minor: product.price_minor,
            currency: product.currency.to_string(),
            updated_at: product.updated_at,
        }
    }
}

impl From<Product> for InventoryView {
    fn from(product: Product) -> Self {
        let available = product.available();
        let Product { sku, on_hand, reserved, low_stock_at, updated_at, .. } = product;
        Self { object: "inventory", sku, on_hand, reserved, available, low_stock_at, updated_at }
    }
}

impl From<Category> for CategoryView {
    fn from(category: Category) -> Self {
        Self { object: "category", slug: category.slug, products: category.products }
    }
}
