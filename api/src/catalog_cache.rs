//! Catalog reads through the cache.
//!
//! Guarantees: a product or stock level that was set is read fresh at once, in every process the invalidation reaches,
//! and within the ages of [`crate::CachePolicies`] everywhere else. Stock changed by orders shows within that time,
//! usually at once in the process that placed the order. A cache that is unavailable costs speed, never an answer. Not
//! for decisions: placing an order reads stock from the store itself.
//!
//! Cached lists cannot be invalidated one by one, because their keys are not known. So their keys hold a version of the
//! merchant's catalog, itself a cached value, and invalidating that version invalidates all lists. See `docs/CACHE.md`.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base::Ambient;
use cache::{Cache, CacheKey, CacheKind, Encoded, FetchError, Namespace, fetch, fetch_encoded};
use store::{
    OrderStore, StoreError,
    catalog::{Category, Product, ProductCursor, ProductFacets, ProductFilter, ProductSort},
    domain::{MerchantId, Order, PageRequest},
};
use tokio::sync::Notify;

use crate::{cache_policies::CachePolicies, problem::Problem};

/// A version says nothing about the catalog's content, so it may live longer.
const VERSION_TTL: Duration = Duration::from_mins(5);
/// Products of orders that wait for invalidation; further ones expire.
const SOLD_MAX: usize = 1024;
/// Orders of this time are sent to the cache together.
const SOLD_PAUSE: Duration = Duration::from_millis(20);

const VERSION: Namespace = Namespace {
    name: "catalog",
    version: 1,
    kind: CacheKind::Version,
    ttl: VERSION_TTL,
    negative_ttl: VERSION_TTL,
};

/// A page of products, and whether more follow.
pub(crate) type Listed = (Vec<Product>, bool);

/// The order store's catalog behind a cache.
pub(crate) struct CatalogCache {
    cache: Arc<dyn Cache>,
    orders: Arc<dyn OrderStore>,
    ambient: Ambient,
    product: Namespace,
    lists: Namespace,
    searches: Namespace,
    facets: Namespace,
    categories: Namespace,
    sold: Mutex<HashSet<CacheKey>>,
    has_sold: Notify,
}

impl CatalogCache {
    pub(crate) fn new(
        cache: Arc<dyn Cache>,
        orders: Arc<dyn OrderStore>,
        ambient: Ambient,
        policies: &CachePolicies,
    ) -> Self {
        let family =
            |name, version, kind, ttl| Namespace { name, version, kind, ttl, negative_ttl: policies.absent };
        Self {
            cache,
            orders,
            ambient,
            product: family("product", 1, CacheKind::Data, policies.product),
            lists: family("products", 3, CacheKind::Query, policies.list),
            searches: family("searches", 1, CacheKind::Query, policies.search),
            facets: family("facets", 1, CacheKind::Query, policies.facets),
            categories: family("categories", 1, CacheKind::Query, policies.list),
            sold: Mutex::default(),
            has_sold: Notify::new(),
        }
    }

    pub(crate) async fn product(
        &self,
        merchant: MerchantId,
        sku: &str,
    ) -> Result<Option<Product>, FetchError> {
        match self.encoded_product(merchant, sku).await? {
            Some(found) => found.decode(&*self.cache).await.map(Some),
            None => Ok(None),
        }
    }

    /// The product as it is cached, for an answer that shows it.
    pub(crate) async fn encoded_product(
        &self,
        merchant: MerchantId,
        sku: &str,
    ) -> Result<Option<Encoded<Product>>, FetchError> {
        let (orders, id, sku) = (Arc::clone(&self.orders), product_id(merchant, sku), sku.to_owned());
        let load = move || async move { orders.product(merchant, &sku).await };
        fetch_encoded(&*self.cache, &self.product, &id, load).await
    }

    /// A page of products as it is cached; never `None`, as the next two.
    pub(crate) async fn products(
        &self,
        merchant: MerchantId,
        filter: ProductFilter,
        sort: ProductSort,
        page: PageRequest<ProductCursor>,
    ) -> Result<Option<Encoded<Listed>>, FetchError> {
        let version = self.version(merchant).await?;
        let after = page.after.as_ref().map(|after| (after.price_minor, &after.sku));
        let what = serde_json::json!([page.limit, after, sort.as_str(), filter_key(&filter)]);
        let namespace = if is_search(&filter) { &self.searches } else { &self.lists };
        let orders = Arc::clone(&self.orders);
        let load = move || async move {
            let page = orders.products(merchant, &filter, sort, page).await?;
            Ok::<_, StoreError>(Some((page.items, page.has_more)))
        };
        fetch_encoded(&*self.cache, namespace, &format!("{merchant}:{version}:{what}"), load).await
    }

    pub(crate) async fn facets(
        &self,
        merchant: MerchantId,
        filter: ProductFilter,
    ) -> Result<Option<Encoded<ProductFacets>>, FetchError> {
        let version = self.version(merchant).await?;
        let (orders, what) = (Arc::clone(&self.orders), filter_key(&filter));
        let load = move || async move { orders.facets(merchant, &filter).await.map(Some) };
        fetch_encoded(&*self.cache, &self.facets, &format!("{merchant}:{version}:{what}"), load).await
    }

    pub(crate) async fn categories(
        &self,
        merchant: MerchantId,
    ) -> Result<Option<Encoded<Vec<Category>>>, FetchError> {
        let orders = Arc::clone(&self.orders);
        let load = move || async move { orders.categories(merchant).await.map(Some) };
        fetch_encoded(&*self.cache, &self.categories, &merchant.to_string(), load).await
    }

    /// The version of the merchant's catalog: a fresh random value after each invalidation.
    async fn version(&self, merchant: MerchantId) -> Result<String, FetchError> {
        let fresh = self.ambient.uuid().simple().to_string();
        let load = move || async move { Ok::<_, StoreError>(Some(fresh)) };
        let version = fetch(&*self.cache, &VERSION, &merchant.to_string(), load).await?;
        Ok(version.unwrap_or_default())
    }

    /// Invalidates what a write of the merchant may have changed. Called whether the write succeeded or not: a write
    /// without an answer may have taken effect.
    pub(crate) async fn changed(&self, merchant: MerchantId, sku: &str) {
        let merchant_id = merchant.to_string();
        let keys = [
            self.product.key(&product_id(merchant, sku)),
            self.categories.key(&merchant_id),
            VERSION.key(&merchant_id),
        ];
        self.cache.invalidate(&keys).await;
    }

    /// Invalidates products whose stock a cart has changed. Called whether the write succeeded or not.
    pub(crate) async fn stock_changed(&self, merchant: MerchantId, skus: &[&str]) {
        let keys: Vec<_> = skus.iter().map(|sku| self.product.key(&product_id(merchant, sku))).collect();
        self.cache.invalidate(&keys).await;
    }

    /// Queues products whose stock an order has changed; they are invalidated a moment later, off the order's path.
    pub(crate) fn sold(&self, order: &Order) {
        let mut sold = self.sold.lock().unwrap_or_else(PoisonError::into_inner);
        let room = SOLD_MAX.saturating_sub(sold.len());
        let keys = order.lines.iter().map(|line| self.product.key(&product_id(order.merchant, &line.sku)));
        sold.extend(keys.take(room));
        drop(sold);
        self.has_sold.notify_one();
    }

    /// Waits for sold products and invalidates one round of them.
    pub(crate) async fn forget_sold(&self) {
        self.has_sold.notified().await;
        let sold = std::mem::take(&mut *self.sold.lock().unwrap_or_else(PoisonError::into_inner));
        self.cache.invalidate(&sold.into_iter().collect::<Vec<_>>()).await;
        tokio::time::sleep(SOLD_PAUSE).await;
    }
}

/// Whether the filter makes a list read more products than it shows.
pub(crate) fn is_search(filter: &ProductFilter) -> bool {
    filter.text.is_some() || filter.price.is_some() || filter.in_stock
}

/// Part of a cache key: what the filter asks for.
fn filter_key(filter: &ProductFilter) -> serde_json::Value {
    let price = filter.price.map(|price| (price.currency, price.min_minor, price.max_minor));
    serde_json::json!([filter.category, filter.text, price, filter.in_stock])
}

/// Cache key of a product; a sku holds no colon.
fn product_id(merchant: MerchantId, sku: &str) -> String {
    format!("{merchant}:{sku}")
}

impl From<FetchError> for Problem {
    fn from(error: FetchError) -> Self {
        match error.0.downcast_ref::<StoreError>() {
            Some(error) => Self::of_store(error),
            None => Self::of_store(&StoreError::corrupt("cache", error.0.to_string())),
        }
    }
}
