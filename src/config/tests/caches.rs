//! Tests of the expiry of caches.

use std::time::Duration;

use api::{CachePolicies, PagePolicy};

use super::with_env;

#[test]
fn the_shipped_expiry_is_that_of_the_api() {
    assert_eq!(with_env(&[]).expect("valid").api.cache, CachePolicies::default());
}

#[test]
fn every_kind_has_an_expiry_of_its_own() {
    let config = with_env(&[
        ("ORDERWORKS_CACHE_PRODUCT_MS", "250"),
        ("ORDERWORKS_CACHE_CUSTOMER_MS", "251"),
        ("ORDERWORKS_CACHE_LIST_MS", "252"),
        ("ORDERWORKS_CACHE_SEARCH_MS", "253"),
        ("ORDERWORKS_CACHE_FACETS_MS", "254"),
        ("ORDERWORKS_CACHE_ABSENT_MS", "255"),
        ("ORDERWORKS_CACHE_PRODUCT_PAGE_SECONDS", "0"),
        ("ORDERWORKS_CACHE_LIST_PAGE_SECONDS", "2"),
        ("ORDERWORKS_CACHE_SEARCH_PAGE_SECONDS", "3"),
        ("ORDERWORKS_CACHE_STALE_WHILE_REVALIDATE_SECONDS", "0"),
        ("ORDERWORKS_CACHE_STALE_IF_ERROR_SECONDS", "5"),
        ("ORDERWORKS_CACHE_PAGE_MEMORY_MIB", "8"),
    ])
    .expect("valid");
    let page = |seconds| PagePolicy {
        fresh: Duration::from_secs(seconds),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::from_secs(5),
    };
    let expected = CachePolicies {
        product: Duration::from_millis(250),
        customer: Duration::from_millis(251),
        list: Duration::from_millis(252),
        search: Duration::from_millis(253),
        facets: Duration::from_millis(254),
        absent: Duration::from_millis(255),
        product_page: page(0),
        list_page: page(2),
        search_page: page(3),
        page_bytes_max: 8 * 1024 * 1024,
    };
    assert_eq!(config.api.cache, expected);
}
