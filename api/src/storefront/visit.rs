//! A visit: the visitor of one request, in which language, with which cookies, and the API on this visitor's behalf.

use std::sync::{Arc, OnceLock};

use axum::{Router, extract::FromRequestParts, response::Response};
use base::Ambient;
use http::{HeaderMap, HeaderName, HeaderValue, header, request};
use secrecy::ExposeSecret;
use store::domain::MerchantId;
use url::form_urlencoded;

use super::{
    cookies::{Cookie, KnownOrder, known_orders},
    public_api::{OwnHeaders, PublicApi},
    texts::{Language, Texts},
};
use crate::{
    auth,
    config::StorefrontConfig,
    problem::{Kind, Problem},
    state::ApiState,
};

/// Parameter of every page that chooses its language.
const LANGUAGE: &str = "lang";
/// Parameter of a link in a mail; it is in no link of a page.
const TOKEN: &str = "token";
/// Longest id in a path or a cookie.
const ID_BYTES_MAX: usize = 64;

/// What all visits share.
pub(super) struct Storefront {
    pub(super) config: StorefrontConfig,
    /// The API that pages ask: within the process, with all its limits.
    pub(super) api: Router,
    merchant: OnceLock<MerchantId>,
}

impl Storefront {
    pub(super) fn new(config: StorefrontConfig, api: Router) -> Self {
        Self { config, api, merchant: OnceLock::new() }
    }

    /// The merchant of its key, which never changes; `None` before the API has let a request with the key through.
    pub(super) fn merchant(&self, state: &ApiState) -> Option<MerchantId> {
        if let Some(known) = self.merchant.get() {
            return Some(*known);
        }
        let key = auth::remembered(self.config.key.expose_secret(), state)?;
        Some(*self.merchant.get_or_init(|| key.merchant))
    }

    /// Whether requests to this host are for the storefront.
    pub(super) fn is_at(&self, headers: &HeaderMap) -> bool {
        let Some(own) = &self.config.host else { return true };
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
        host.is_some_and(|host| host.eq_ignore_ascii_case(own))
    }
}

/// One request to the storefront.
pub(super) struct Visit {
    pub(super) shop: Arc<Storefront>,
    pub(super) api: PublicApi,
    pub(super) ambient: Ambient,
    pub(super) language: Language,
    /// Id of the cart.
    pub(super) cart: Option<String>,
    pub(super) is_signed_in: bool,
    pub(super) has_device: bool,
    /// Orders that were placed from this browser.
    pub(super) orders: Vec<KnownOrder>,
    pub(super) is_read: bool,
    pub(super) path: String,
    query: Vec<(String, String)>,
    last_event_id: Option<HeaderValue>,
    /// Language that this request chooses.
    chosen: Option<Language>,
}

impl FromRequestParts<ApiState> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self, Problem> {
        let shop = parts.extensions.get::<Arc<Storefront>>().cloned();
        let shop = shop.ok_or_else(|| Problem::new(Kind::INTERNAL, "the storefront is not set up"))?;
        let (headers, https) = (&parts.headers, shop.config.https);
        let query: Vec<(String, String)> =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let tag = query.iter().find(|(name, _)| name == LANGUAGE).map(|(_, tag)| tag.as_str());
        let chosen = tag.and_then(Language::of_tag);
        let kept = || Language::of_tag(&Cookie::Language.read(headers, https)?);
        let language = chosen.or_else(kept).unwrap_or_else(|| Language::preferred(headers));
        let session = Cookie::Session.read(headers, https);
        let device = Cookie::Device.read(headers, https);
        let place = Cookie::Place.read(headers, https);
        let own =
            OwnHeaders { session: session.as_deref(), device: device.as_deref(), place: place.as_deref() };
        let api = PublicApi::new(&shop.api, &shop.config.key, parts, &own);
        Ok(Self {
            api,
            ambient: state.ambient.clone(),
            language,
            cart: Cookie::Cart.read(headers, https).filter(|id| is_id(id)),
            is_signed_in: session.is_some(),
            has_device: device.is_some(),
            orders: Cookie::Orders.read(headers, https).map(|value| known_orders(&value)).unwrap_or_default(),
            is_read: parts.method.is_safe(),
            path: parts.uri.path().to_owned(),
            query,
            last_event_id: headers.get("last-event-id").cloned(),
            chosen,
            shop,
        })
    }
}

impl Visit {
    pub(super) fn texts(&self) -> &'static Texts {
        self.language.texts()
    }

    /// The visit to a page at its own address, with the parameters that it knows; empty ones count as none. All else
    /// that was sent in the address is in no link of the page.
    pub(super) fn at(self, path: &str, parameters: &[(&str, &str)]) -> Self {
        let kept = parameters.iter().filter(|(_, value)| !value.is_empty());
        let query = kept.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { path: path.to_owned(), query, ..self }
    }

    /// Whether a page of the catalog is the same for this visitor as for others of the language, and sets no cookie.
    pub(super) fn can_share_pages(&self) -> bool {
        !self.is_signed_in && self.cart.is_none() && self.chosen.is_none()
    }

    /// A parameter of the address; empty where there is none.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.query
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .unwrap_or_default()
    }

    /// The address of this page in another language.
    pub(super) fn in_language(&self, language: Language) -> String {
        let is_kept = |name: &str| name != LANGUAGE && name != TOKEN;
        let same = self.query.iter().filter(|(name, _)| is_kept(name));
        let same = same.map(|(name, value)| (name.as_str(), value.as_str()));
        let pairs: Vec<_> = same.chain([(LANGUAGE, language.tag())]).collect();
        format!("{}?{}", self.path, query(&pairs))
    }

    /// The token of an order that was placed from this browser, as a header of the API.
    pub(super) fn token_of(&self, order: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let known = self.orders.iter().find(|known| known.id == order);
        if let Some(token) = known.and_then(|known| HeaderValue::from_str(&known.token).ok()) {
            headers.insert(HeaderName::from_static("orderworks-order-token"), token);
        }
        headers
    }

    /// The same with the last event that the browser has seen.
    pub(super) fn token_and_position_of(&self, order: &str) -> HeaderMap {
        let mut headers = self.token_of(order);
        if let Some(last) = &self.last_event_id {
            headers.insert(HeaderName::from_static("last-event-id"), last.clone());
        }
        headers
    }

    /// Whether events of the order can be followed: with its token, or in a session, which may be that of its customer.
    pub(super) fn can_follow(&self, order: &str) -> bool {
        self.is_signed_in || self.orders.iter().any(|known| known.id == order)
    }

    /// Sets a cookie; one that cannot be set is left out.
    pub(super) fn set(&self, response: &mut Response, cookie: Cookie, value: &str) {
        add(response, cookie.set(value, self.shop.config.https));
    }

    pub(super) fn clear(&self, response: &mut Response, cookie: Cookie) {
        add(response, cookie.clear(self.shop.config.https));
    }

    /// Remembers a language that was chosen by this request.
    pub(super) fn keep_language(&self, response: &mut Response) {
        if let Some(language) = self.chosen {
            self.set(response, Cookie::Language, language.tag());
        }
    }

    /// A text that was not used before, for idempotency keys and devices.
    pub(super) fn fresh_id(&self) -> String {
        self.ambient.shown_uuid().simple().to_string()
    }
}

fn add(response: &mut Response, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// The query string of these parameters.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Whether the text may be part of a path of the API: letters, digits, `.`, `_` and `-`.
pub(super) fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}
