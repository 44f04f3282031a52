//! Settings of cached reads and answers of the API.

use std::time::Duration;

use api::{CachePolicies, PagePolicy};
use cache::MemoryConfig;

use super::reader::Reader;

const SECTION: &str = "cache";
/// Longest age of a cached read, in milliseconds: where invalidations are lost, a write shows no later.
const AGE_MS_MAX: u64 = 60_000;
/// Longest time for which caches beyond this process may use an answer without asking, in seconds: no write reaches
/// them.
const FRESH_SECONDS_MAX: u64 = 60;
/// Most memory of a cache, in MiB.
const MIB_MAX: u64 = 16_384;

/// Bound of cached reads in this process.
pub(super) fn memory(r: &mut Reader) -> MemoryConfig {
    MemoryConfig { bytes_max: bytes(r, "memory_mib") }
}

pub(super) fn policies(r: &mut Reader) -> CachePolicies {
    let stale_while_revalidate = r.seconds(SECTION, "stale_while_revalidate_seconds", 0);
    let stale_if_error = r.seconds(SECTION, "stale_if_error_seconds", 0);
    let page = |key: &str| {
        let fresh = Duration::from_secs(r.within(SECTION, key, 0..=FRESH_SECONDS_MAX));
        PagePolicy { fresh, stale_while_revalidate, stale_if_error }
    };
    let [product_page, list_page, search_page] =
        ["product_page_seconds", "list_page_seconds", "search_page_seconds"].map(page);
    CachePolicies {
        product: age(r, "product_ms"),
        customer: age(r, "customer_ms"),
        list: age(r, "list_ms"),
        search: age(r, "search_ms"),
        facets: age(r, "facets_ms"),
        absent: age(r, "absent_ms"),
        product_page,
        list_page,
        search_page,
        page_bytes_max: bytes(r, "page_memory_mib"),
    }
}

fn age(r: &mut Reader, key: &str) -> Duration {
    Duration::from_millis(r.within(SECTION, key, 100..=AGE_MS_MAX))
}

fn bytes(r: &mut Reader, key: &str) -> u64 {
    1024 * 1024 * r.within(SECTION, key, 1..=MIB_MAX)
}
