//! Cached answers to reads of the catalog, ready to be sent: JSON of the API and HTML pages alike.
//!
//! Guarantees: an answer is rendered once per process and load of its data, and is never older than that data; it has a
//! strong `ETag`, and a request that names it gets 304 ([`etag`]); caches beyond this process are told how long they
//! may use it (`Cache-Control`, by the class of the route), which fields of the request it depends on (`Vary`) and
//! which writes change it ([`groups`]). While the store is away the last answer is sent, with its `Age`, for as long as
//! the policy says. Memory is bounded.
//!
//! Does not authenticate or count requests: callers come here after both. Not for pages of one person, whose data must
//! not be kept here. Next: [`crate::catalog_cache`], where the data comes from, and `docs/CACHE.md`.

mod etag;
mod groups;

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use base::{
    Ambient,
    time::{between, earlier},
};
use bytes::Bytes;
use cache::{Cache, DerivedCache, DerivedStats, Encoded, FetchError};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header, uri::PathAndQuery};
use serde::{Serialize, de::DeserializeOwned};
use store::{
    StoreError,
    domain::MerchantId,
    merchants::{KeyRecord, KeyScope},
};

use crate::{
    cache_policies::{CachePolicies, PagePolicy},
    problem::{Problem, Result},
};

pub(crate) use groups::{CacheGroup, invalidation};

const JSON: &str = "application/json";
/// For answers that only the caller may store: it asks whether they still hold before each use.
const CALLER_ONLY: &str = "private, no-cache";
/// Time for which a rendered answer is kept at least: it may be current for longer than it may be shown stale.
const KEEP_MIN: Duration = Duration::from_mins(10);

/// A class of routes, with a policy of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageClass {
    /// One product.
    Product,
    /// A list or the categories.
    List,
    /// A search, or counts.
    Search,
}

/// Who may be shown a stored answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Everybody who sends the same request.
    All,
    /// The caller.
    Caller,
}

/// What is asked for, and what the answer depends on beside its data.
pub(crate) struct PageQuery<'a> {
    pub(crate) class: PageClass,
    pub(crate) audience: Audience,
    pub(crate) merchant: MerchantId,
    /// Tells the answers of a merchant apart: path and query, and all else that a body depends on, such as a language.
    pub(crate) id: &'a str,
    pub(crate) media_type: &'static str,
    /// Names of the request's header fields that the answer depends on.
    pub(crate) vary: &'static str,
    pub(crate) groups: &'a [CacheGroup<'a>],
    /// Header fields of the request, for its condition.
    pub(crate) headers: &'a HeaderMap,
}

impl<'a> PageQuery<'a> {
    /// A request with an API key for JSON. Answers to a publishable key, which is public, may be stored by all caches.
    pub(crate) fn json(
        class: PageClass,
        key: &KeyRecord,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        groups: &'a [CacheGroup<'a>],
    ) -> Self {
        let audience = match key.scope {
            KeyScope::Publishable => Audience::All,
            KeyScope::Secret => Audience::Caller,
        };
        let id = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        Self {
            class,
            audience,
            merchant: key.merchant,
            id,
            media_type: JSON,
            vary: "authorization",
            groups,
            headers,
        }
    }

    fn key(&self) -> String {
        format!("{}:{}", self.merchant, self.id)
    }
}

/// An answer as it is sent.
#[derive(Debug, Clone)]
struct RenderedPage {
    body: Bytes,
    etag: HeaderValue,
    groups: HeaderValue,
}

/// Rendered answers of this process.
pub(crate) struct PageCache {
    pages: DerivedCache<RenderedPage>,
    /// Where the data comes from.
    cache: Arc<dyn Cache>,
    ambient: Ambient,
    policies: CachePolicies,
}

impl PageCache {
    pub(crate) fn new(cache: Arc<dyn Cache>, ambient: Ambient, policies: CachePolicies) -> Self {
        let CachePolicies { product_page, list_page, search_page, page_bytes_max, .. } = policies;
        let keep = [product_page, list_page, search_page].map(|policy| policy.stale_if_error);
        let keep = keep.into_iter().fold(KEEP_MIN, Duration::max);
        Self { pages: DerivedCache::new(page_bytes_max, keep), cache, ambient, policies }
    }

    /// The answer with a value that was read through the cache, as JSON of its `view`; `None` when there is no such
    /// value.
    pub(crate) async fn answer<T, V>(
        &self,
        query: &PageQuery<'_>,
        found: Result<Option<Encoded<T>>, FetchError>,
        view: impl FnOnce(T) -> V,
    ) -> Result<Option<Response>>
    where
        T: DeserializeOwned + Send,
        V: Serialize,
    {
        let found = match found {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(error) => return self.former(query, error).await.map(Some),
        };
        let render = async {
            let value = found.decode(&*self.cache).await?;
            encode(&view(value))
        };
        self.page(query, std::slice::from_ref(found.bytes()), None, render).await.map(Some)
    }

    /// The answer made of these sources, which stand for all data that it shows: its encoded values, or their
    /// validators. `age` is theirs where they are no longer current; `render` makes the body when there is none of them
    /// yet.
    pub(crate) async fn page<E>(
        &self,
        query: &PageQuery<'_>,
        sources: &[Arc<[u8]>],
        age: Option<Duration>,
        render: impl Future<Output = Result<Vec<u8>, E>>,
    ) -> Result<Response, E> {
        let (key, seen) = (query.key(), earlier(self.ambient.now(), age.unwrap_or_default()));
        if let Some(page) = self.pages.current(&key, sources, seen).await {
            return Ok(self.respond(query, &page, age));
        }
        let body = Bytes::from(render.await?);
        let groups = groups::field(query.merchant, query.groups);
        let page = RenderedPage { etag: etag::of(&body), groups, body };
        self.pages.put(&key, sources.to_vec(), page.clone(), page.body.len(), seen).await;
        Ok(self.respond(query, &page, age))
    }

    /// The last answer, in place of one whose data the store cannot give now.
    async fn former(&self, query: &PageQuery<'_>, error: FetchError) -> Result<Response> {
        let is_away = matches!(
            error.0.downcast_ref::<StoreError>(),
            Some(StoreError::Unavailable { .. } | StoreError::Busy { .. })
        );
        let problem = Problem::from(error);
        let last = if is_away { self.last(query).await } else { None };
        last.ok_or(problem)
    }

    /// The last answer, for while its data is not to be had; `None` where there is none that may still be shown.
    pub(crate) async fn last(&self, query: &PageQuery<'_>) -> Option<Response> {
        let now = self.ambient.now();
        let earliest = earlier(now, self.policy(query.class).stale_if_error);
        let (page, since) = self.pages.former(&query.key(), earliest).await?;
        Some(self.respond(query, &page, Some(between(since, now))))
    }

    fn respond(&self, query: &PageQuery<'_>, page: &RenderedPage, age: Option<Duration>) -> Response {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::ETAG, page.etag.clone());
        headers.insert(
            header::CACHE_CONTROL,
            match query.audience {
                Audience::All => self.policy(query.class).cache_control(),
                Audience::Caller => HeaderValue::from_static(CALLER_ONLY),
            },
        );
        headers.insert(header::VARY, HeaderValue::from_static(query.vary));
        headers.insert(groups::GROUPS, page.groups.clone());
        if let Some(age) = age {
            headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
        }
        if etag::is_named(query.headers, &page.etag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(query.media_type));
        let mut response = Response::new(Body::from(page.body.clone()));
        *response.headers_mut() = headers;
        response
    }

    fn policy(&self, class: PageClass) -> &PagePolicy {
        match class {
            PageClass::Product => &self.policies.product_page,
            PageClass::List => &self.policies.list_page,
            PageClass::Search => &self.policies.search_page,
        }
    }

    pub(crate) fn stats(&self) -> DerivedStats {
        self.pages.stats()
    }
}

fn encode(view: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(view).map_err(|error| {
        tracing::error!(%error, "answer not encoded");
        Problem::logged()
    })
}
