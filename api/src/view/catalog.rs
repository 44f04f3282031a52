//! Response bodies of products, categories and stock.

use base::Timestamp;
use serde::Serialize;
use store::catalog::{Category, PriceFacet, Product, ProductFacets};
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
    /// Number of products; a list of categories counts up to 1,000 of each.
    products: u64,
}

/// Counts of the products that a filter finds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProductFacets)]
pub(crate) struct FacetsView {
    /// Always `product_facets`.
    #[schema(example = "product_facets")]
    object: &'static str,
    /// Products found.
    products: u64,
    /// Those that can be ordered.
    in_stock: u64,
    /// Those with most products first, 50 at most.
    categories: Vec<CategoryView>,
    /// By currency code.
    prices: Vec<PriceFacetView>,
    /// `false` when more than 10,000 products are found: the counts are then those of so many of them.
    is_complete: bool,
}

/// Prices in one currency.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PriceFacet)]
pub(crate) struct PriceFacetView {
    /// ISO 4217.
    currency: String,
    /// Products with a price in it.
    products: u64,
    /// In minor units.
    lowest_minor: i64,
    /// In minor units.
    highest_minor: i64,
}

impl From<ProductFacets> for FacetsView {
    fn from(facets: ProductFacets) -> Self {
        let ProductFacets { products, in_stock, categories, prices, is_complete } = facets;
        let categories = categories.into_iter().map(CategoryView::from).collect();
        let prices = prices.into_iter().map(PriceFacetView::from).collect();
        Self { object: "product_facets", products, in_stock, categories, prices, is_complete }
    }
}

impl From<PriceFacet> for PriceFacetView {
    fn from(facet: PriceFacet) -> Self {
        let PriceFacet { currency, products, lowest_minor, highest_minor } = facet;
        Self { currency: currency.to_string(), products, lowest_minor, highest_minor }
    }
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
