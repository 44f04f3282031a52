//! Answers of the storefront: pages with their frame and policy, redirects, and the page of a problem.
//!
//! Guarantees: every page forbids other hosts, frames, and all scripts but the storefront's own file. A session that
//! has ended is taken from the browser, and the visitor goes on as a guest.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::{
    cookies::Cookie,
    public_api::Refusal,
    texts::{Language, Texts},
    visit::Visit,
};
use crate::{own_pages, problem::Problem};

/// The policy of every page: style sheet and script of this host, drawings within the page, forms to this host.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                                 img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// Fields of a request that pages depend on: what the visitor speaks, and cookies for language, cart and session.
pub(super) const VARY: &str = "accept-language, cookie";

/// What every page shows around its content.
pub(super) struct Frame {
    pub(super) t: &'static Texts,
    pub(super) language: &'static str,
    pub(super) shop: String,
    pub(super) title: String,
    /// What was searched for.
    pub(super) query: String,
    pub(super) is_signed_in: bool,
    pub(super) languages: Vec<LanguageLink>,
    pub(super) version: &'static str,
}

pub(super) struct LanguageLink {
    pub(super) tag: &'static str,
    pub(super) name: &'static str,
    pub(super) href: String,
    pub(super) is_chosen: bool,
}

impl Frame {
    pub(super) fn new(visit: &Visit, title: impl Into<String>) -> Self {
        let link = |language: Language| LanguageLink {
            tag: language.tag(),
            name: language.name(),
            href: visit.in_language(language),
            is_chosen: language == visit.language,
        };
        Self {
            t: visit.texts(),
            language: visit.language.tag(),
            shop: visit.shop.config.name.clone(),
            title: title.into(),
            query: visit.parameter("q").to_owned(),
            is_signed_in: visit.is_signed_in,
            languages: Language::ALL.into_iter().map(link).collect(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

#[derive(Template)]
#[template(path = "storefront/problem.html")]
struct ProblemPage<'a> {
    frame: Frame,
    text: &'a str,
    request_id: &'a str,
}

/// The bytes of a page, for more than one answer.
pub(super) fn rendered(page: &impl Template) -> Result<Vec<u8>, Refusal> {
    let text = page.render().inspect_err(not_rendered);
    text.map(String::into_bytes).map_err(|_| Refusal::broken())
}

fn not_rendered(error: &askama::Error) {
    tracing::error!(%error, "page of the storefront not rendered");
}

/// A page of its template, for this answer alone.
pub(super) fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render().inspect_err(not_rendered) {
        Ok(page) => {
            let mut response = own_pages::page(status, page, POLICY);
            response.headers_mut().insert(header::VARY, HeaderValue::from_static(VARY));
            response
        }
        Err(_) => Problem::logged().into_response(),
    }
}

/// Sends the browser to a path of the storefront, by `GET`.
pub(super) fn go_to(path: &str) -> Response {
    let location = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// Completes the answer to a visit.
pub(super) fn finish(visit: &Visit, answered: Result<Response, Refusal>) -> Response {
    let mut response = answered.unwrap_or_else(|refusal| refused(visit, &refusal));
    visit.keep_language(&mut response);
    response
}

fn refused(visit: &Visit, refusal: &Refusal) -> Response {
    if refusal.code == "session_invalid" && visit.is_signed_in {
        // What was sent is lost where it was a form; the cart of a guest is not.
        let mut response = go_to(if visit.is_read { visit.path.as_str() } else { "/cart" });
        visit.clear(&mut response, Cookie::Session);
        return response;
    }
    let t = visit.texts();
    let (title, text) = match refusal.status {
        StatusCode::NOT_FOUND => (t.not_found, t.not_found_text),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => (t.problem, t.busy),
        status if status.is_server_error() => (t.problem, t.broken),
        _ => (t.problem, t.refused),
    };
    let page = ProblemPage { frame: Frame::new(visit, title), text, request_id: &refusal.request_id };
    html(refusal.status, &page)
}

/// The page for a form of another site.
pub(super) fn of_other_site(visit: &Visit) -> Response {
    let t = visit.texts();
    let page = ProblemPage { frame: Frame::new(visit, t.problem), text: t.other_site, request_id: "" };
    html(StatusCode::FORBIDDEN, &page)
}
