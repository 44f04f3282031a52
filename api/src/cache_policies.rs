//! Expiry of everything that the API caches, as settings. docs/CACHE.md lists what is cached under which of them.

use std::time::Duration;

use http::HeaderValue;

/// Age of cached reads of the store at most, and how long answers may be used beyond this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePolicies {
    /// Age of a product. Default 1 s: long enough to carry a rush on one product, short enough that availability, which
    /// every order changes, need not be announced.
    pub product: Duration,
    /// Age of the profile of a customer who is signed in. Default 10 s.
    pub customer: Duration,
    /// Age of lists, and of the categories. Default 1 s.
    pub list: Duration,
    /// Age of lists that search, or filter by price or stock. Default 1 s.
    pub search: Duration,
    /// Age of counts of products. Default 1 s.
    pub facets: Duration,
    /// Age of the knowledge that a product or customer does not exist. Default 1 s.
    pub absent: Duration,
    /// Answers with one product.
    pub product_page: PagePolicy,
    /// Answers with a list or the categories.
    pub list_page: PagePolicy,
    /// Answers with a search or with counts.
    pub search_page: PagePolicy,
    /// Bytes of rendered answers in this process at most. Default 16 MiB.
    pub page_bytes_max: u64,
}

/// What caches between the API and its readers are told of an answer to a publishable key, or of a page of the
/// storefront's catalog (RFC 9111, RFC 5861). Whole seconds count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PagePolicy {
    /// Time for which it may be used without asking. Default 1 s. Zero: it is asked for before each use, and the two
    /// times below do not apply beyond this process.
    pub fresh: Duration,
    /// Time after that in which it may be used while the next one is fetched. Default 10 s.
    pub stale_while_revalidate: Duration,
    /// Time after that in which it may be used while no new one is to be had; the API itself does so as well, while its
    /// store is away. Default 5 min.
    pub stale_if_error: Duration,
}

impl PagePolicy {
    /// The value of `Cache-Control` for caches that many readers share.
    pub(crate) fn cache_control(&self) -> HeaderValue {
        let Self { fresh, stale_while_revalidate, stale_if_error } = self;
        let [fresh, revalidate, error] =
            [fresh, stale_while_revalidate, stale_if_error].map(Duration::as_secs);
        if fresh == 0 {
            return HeaderValue::from_static("public, no-cache");
        }
        let text =
            format!("public, max-age={fresh}, stale-while-revalidate={revalidate}, stale-if-error={error}");
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("no-store"))
    }
}

impl Default for PagePolicy {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(1),
            stale_while_revalidate: Duration::from_secs(10),
            stale_if_error: Duration::from_mins(5),
        }
    }
}

impl Default for CachePolicies {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            product: second,
            customer: Duration::from_secs(10),
            list: second,
            search: second,
            facets: second,
            absent: second,
            product_page: PagePolicy::default(),
            list_page: PagePolicy::default(),
            search_page: PagePolicy::default(),
            page_bytes_max: 16 * 1024 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_told_in_whole_seconds() {
        let policy = PagePolicy { fresh: Duration::from_millis(2_900), ..PagePolicy::default() };
        let told = policy.cache_control();
        assert_eq!(told, "public, max-age=2, stale-while-revalidate=10, stale-if-error=300");
        let policy = PagePolicy { fresh: Duration::ZERO, ..policy };
        assert_eq!(policy.cache_control(), "public, no-cache");
    }
}
