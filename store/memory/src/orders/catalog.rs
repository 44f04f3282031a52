//! [`Catalog`] in memory: products and stock.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base::{Ambient, Timestamp, TraceContext};
use store::{
    catalog::{Catalog, Category, InventoryPut, Product, ProductData, ProductFilter},
    domain::{MerchantId, Page, PageRequest},
    error::StoreError,
    rules::{Damage, messages::Messages, texts},
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
        page: PageRequest<String>,
    ) -> Result<Page<Product>, StoreError> {
        self.held.read("products", |state| list(state, merchant, filter, &page)).await
    }

    async fn categories(&self, merchant: MerchantId) -> Result<Vec<Category>, StoreError> {
        let count = |state: &OrdersState| {
            let mut counts = BTreeMap::<&str, u64>::new();
            for ((_, _), row) in state.products.iter().filter(|((of, _), _)| *of == merchant) {
                *counts.entry(&row.product.category).or_default() += 1;
            }
            let category = |(slug, products): (&str, u64)| Category { slug: slug.to_owned(), products };
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

fn list(
    state: &OrdersState,
    merchant: MerchantId,
    filter: &ProductFilter,
    page: &PageRequest<String>,
) -> Page<Product> {
    let text = filter.text.as_deref().map(texts::folded);
    let wanted = |product: &&Product| {
        page.after.as_ref().is_none_or(|after| product.sku > *after)
            && filter.category.as_ref().is_none_or(|category| product.category == *category)
            && text.as_ref().is_none_or(|text| texts::search_text(&product.name, &product.sku).contains(text))
    };
    let of_merchant = state.products.iter().filter(|((of, _), _)| *of == merchant);
    let found = of_merchant.map(|(_, row)| &row.product).filter(wanted);
    page_of(found.cloned(), page.limit)
}
