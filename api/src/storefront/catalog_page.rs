//! Pages of the catalog from the page cache: shared by all visitors of a language who have neither cart nor session.
//!
//! Guarantees: a shared page is rendered once, and again when an answer of the API that it is made of has another
//! `ETag`; so it is never older than these answers. It has a validator and the times for caches beyond this process
//! ([`crate::page_cache`]). A visitor with a cart or a session, or whose answer sets a cookie, gets a page that is
//! rendered for this answer and that no cache may store. While the store is away the last shared page is sent.
//!
//! Spares the API no question: it is asked for each visit, so that its limits count them all. Next: [`super::catalog`],
//! whose pages these are, and `docs/CACHE.md`.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use store::domain::MerchantId;

use super::{
    html::{POLICY, html, rendered},
    public_api::{Answer, Refusal},
    visit::Visit,
};
use crate::{
    own_pages::{HTML, protect},
    page_cache::{Audience, CacheGroup, PageClass, PageQuery},
    state::ApiState,
};

/// A page of the catalog that is asked for. The visit is at the page's own address: this tells shared pages apart.
pub(super) struct CatalogPage<'a> {
    pub(super) state: &'a ApiState,
    pub(super) visit: &'a Visit,
    /// Header fields of the request, for its condition.
    pub(super) headers: &'a HeaderMap,
    pub(super) class: PageClass,
    /// Names of the request's header fields that the page depends on.
    pub(super) vary: &'static str,
    pub(super) groups: &'a [CacheGroup<'a>],
}

impl CatalogPage<'_> {
    /// The page made of these answers, which hold all that it shows; `content` reads them where there is no shared one
    /// yet.
    pub(super) async fn show<const N: usize, P: Template>(
        self,
        answered: Result<[Answer; N], Refusal>,
        content: impl FnOnce([Answer; N]) -> Result<P, Refusal>,
    ) -> Result<Response, Refusal> {
        let Some(merchant) = self.merchant() else {
            return Ok(html(StatusCode::OK, &content(answered?)?));
        };
        let id = self.visit.in_language(self.visit.language);
        let (query, pages) = (self.query(merchant, &id), &self.state.pages);
        let mut response = match answered {
            Ok(answers) => {
                let sources = answers.each_ref().map(|answer| Arc::<[u8]>::from(answer.validator()));
                let age = answers.iter().filter_map(age).max();
                pages.page(&query, &sources, age, async move { rendered(&content(answers)?) }).await?
            }
            Err(refusal) if refusal.is_outage() => pages.last(&query).await.ok_or(refusal)?,
            Err(refusal) => return Err(refusal),
        };
        protect(&mut response, POLICY);
        Ok(response)
    }

    /// The merchant, where the visitor may share the page.
    fn merchant(&self) -> Option<MerchantId> {
        let shop = &self.visit.shop;
        self.visit.can_share_pages().then(|| shop.merchant(self.state)).flatten()
    }

    fn query<'q>(&'q self, merchant: MerchantId, id: &'q str) -> PageQuery<'q> {
        PageQuery {
            class: self.class,
            audience: Audience::All,
            merchant,
            id,
            media_type: HTML,
            vary: self.vary,
            groups: self.groups,
            headers: self.headers,
        }
    }
}

/// The age of an answer, where it is a former one in place of one that is not to be had.
fn age(answer: &Answer) -> Option<Duration> {
    answer.header("age").parse().ok().map(Duration::from_secs)
}
