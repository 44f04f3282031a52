//! [`Catalog`] in memory: products and stock.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base::{Ambient, Timestamp, TraceContext};
use store::{
    catalog::{
        CATEGORY_PRODUCTS_MAX, Catalog, Category, FACET_PRODUCTS_MAX, InventoryPut, Product, ProductCursor,
        ProductData, ProductFacets, ProductFilter, ProductSort,
    },
    domain::{MerchantId, Page, PageRequest},
    error::StoreError,
    rules::{
        Damage,
        messages::Messages,
        search::{self, FacetGroup, ProductWords, SearchText},
    },
};

use super::{MemoryOrders, state::OrdersState};
use crate::page_of;

#[async_trait]
impl Catalog for MemoryOrders {
    async fn put_product(
        &self,
        merchant: MerchantId,
        product: ProductData,
        at: Timestamp,
    ) -> Result<(Product, bool), StoreError> {
        self.held.write("put_product", move |state, _| put(state, merchant, product, at)).await
    }

    async fn put_inventory(
        &self,
        merchant: MerchantId,
        sku: &str,
        on_hand: i64,
        at: Timestamp,
        trace: Option<TraceContext>,
    ) -> Result<InventoryPut, StoreError> {
        let (ambient, sku) = (self.ambient.clone(), sku.to_owned());
        let set = move |state: &mut OrdersState, _| {
            set_stock(state, &ambient, (merchant, &sku), on_hand, at, trace)
        };
        self.held.write("put_inventory", set).await
    }

    async fn product(&self, merchant: MerchantId, sku: &str) -> Result<Option<Product>, StoreError> {
        let key = (merchant, sku.to_owned());
        self.held.read("product", |state| state.products.get(&key).map(|row| row.product.clone())).await
    }

    async fn products(
        &self,
        merchant: MerchantId,
        filter: &ProductFilter,
        sort: ProductSort,
        page: PageRequest<ProductCursor>,
    ) -> Result<Page<Product>, StoreError> {
        self.held.read("products", |state| list(state, merchant, filter, sort, page)).await
    }

    async fn facets(
        &self,
        merchant: MerchantId,
        filter: &ProductFilter,
    ) -> Result<ProductFacets, StoreError> {
        self.held.read("facets", |state| facets(state, merchant, filter)).await
    }

    async fn categories(&self, merchant: MerchantId) -> Result<Vec<Category>, StoreError> {
        let count = |state: &OrdersState| {
            let mut counts = BTreeMap::<&str, u64>::new();
            for ((_, _), row) in state.products.iter().filter(|((of, _), _)| *of == merchant) {
                *counts.entry(&row.product.category).or_default() += 1;
            }
            let category = |(slug, products): (&str, u64)| Category {
                slug: slug.to_owned(),
                products: products.min(CATEGORY_PRODUCTS_MAX.into()),
            };
            counts.into_iter().take(1000).map(category).collect()
        };
        self.held.read("categories", count).await
    }
}

fn put(
    state: &mut OrdersState,
    merchant: MerchantId,
    data: ProductData,
    at: Timestamp,
) -> Result<(Product, bool), Damage> {
    let key = (merchant, data.sku.clone());
    let stored = state.products.get(&key).map(|row| (row.product.on_hand, row.product.reserved));
    let (on_hand, reserved) = stored.unwrap_or((0, 0));
    let product = Product {
        sku: data.sku,
        name: data.name,
        description: data.description,
        category: data.category,
        price_minor: data.price_minor,
        currency: data.currency,
        on_hand,
        reserved,
        low_stock_at: data.low_stock_at,
        updated_at: at,
    };
    let answer = product.clone();
    if stored.is_some() {
        state.change_product(merchant, &key.1, at, |row| row.product = product)?;
    } else {
        state.insert_product(merchant, product);
    }
    Ok((answer, stored.is_none()))
}

fn set_stock(
    state: &mut OrdersState,
    ambient: &Ambient,
    (merchant, sku): (MerchantId, &str),
    on_hand: i64,
    at: Timestamp,
    trace: Option<TraceContext>,
) -> Result<InventoryPut, Damage> {
    let key = (merchant, sku.to_owned());
    let Some(before) = state.products.get(&key).map(|row| row.product.clone()) else {
        return Ok(InventoryPut::NoSuchProduct);
    };
    if before.reserved > on_hand {
        return Ok(InventoryPut::BelowReserved { reserved: before.reserved });
    }
    let low = before.available() > before.low_stock_at && on_hand - before.reserved <= before.low_stock_at;
    let after = state.change_product(merchant, sku, at, |row| {
        row.product.on_hand = on_hand;
        row.event_sequence += 1 + u64::from(low);
    })?;
    let mut messages = Messages::new(ambient, at);
    messages.stock_set(merchant, &after, low, trace);
    state.tell(messages)?;
    Ok(InventoryPut::Set(Product { on_hand, updated_at: at, ..before }))
}

/// The products that the filter finds, by sku.
fn found<'s>(
    state: &'s OrdersState,
    merchant: MerchantId,
    filter: &ProductFilter,
) -> impl Iterator<Item = &'s Product> {
    let text = SearchText::of(filter);
    let wanted = move |product: &&Product| {
        let is_found = match &text {
            SearchText::All => true,
            SearchText::Nothing => false,
            SearchText::Words(words) => words.are_in(&ProductWords::of(&product.name, &product.sku)),
        };
        is_found
            && filter.category.as_ref().is_none_or(|category| product.category == *category)
            && filter.price.is_none_or(|price| {
                product.currency == price.currency
                    && (price.min_minor..=price.max_minor).contains(&product.price_minor)
            })
            && (!filter.in_stock || product.available() > 0)
    };
    let of_merchant = state.products.iter().filter(move |((of, _), _)| *of == merchant);
    of_merchant.map(|(_, row)| &row.product).filter(wanted)
}

fn list(
    state: &OrdersState,
    merchant: MerchantId,
    filter: &ProductFilter,
    sort: ProductSort,
    page: PageRequest<ProductCursor>,
) -> Page<Product> {
    let sort = search::effective_sort(filter, sort);
    let after = search::begin_of(filter, sort, page.after);
    let rank = |product: &Product| if sort == ProductSort::Sku { 0 } else { product.price_minor };
    let mut products: Vec<&Product> = found(state, merchant, filter).collect();
    // Sorted by sku already.
    products.sort_by_key(|product| rank(product));
    if sort == ProductSort::PriceDescending {
        products.reverse();
    }
    let is_after = |product: &&Product| {
        let order = (rank(product), product.sku.as_str()).cmp(&(after.price_minor, after.sku.as_str()));
        if sort == ProductSort::PriceDescending { order.is_lt() } else { order.is_gt() }
    };
    page_of(products.into_iter().filter(is_after).cloned(), page.limit)
}

fn facets(state: &OrdersState, merchant: MerchantId, filter: &ProductFilter) -> ProductFacets {
    let limit = usize::try_from(FACET_PRODUCTS_MAX).unwrap_or(usize::MAX).saturating_add(1);
    let group = |product: &Product| FacetGroup {
        category: product.category.clone(),
        currency: product.currency,
        products: 1,
        in_stock: u64::from(product.available() > 0),
        lowest_minor: product.price_minor,
        highest_minor: product.price_minor,
    };
    search::facets(found(state, merchant, filter).take(limit).map(group).collect())
}
