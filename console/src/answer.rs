//! The answer to a request for a view: one serialisable type as a page, as CSV, or as JSON below `/api/v1`.

use std::fmt::Display;

use axum::{
    Json,
    extract::{FromRequestParts, Query, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Uri, header, request::Parts};
use serde::Serialize;

use crate::{
    access::{Bearer, Role},
    error::ConsoleError,
    page::{Link, Page, Table},
    render::{Frame, SCRIPT, STYLESHEET, csv, html},
};

/// Pages in the navigation.
const NAVIGATION: [(&str, &str); 9] = [
    ("Overview", "/"),
    ("Queues", "/queues"),
    ("Jobs", "/jobs"),
    ("Dead letters", "/dead"),
    ("Workers", "/workers"),
    ("Schedules", "/schedules"),
    ("Limits", "/limits"),
    ("Operations", "/operations"),
    ("Audit", "/audit"),
];
/// Policy of pages that renew themselves: the script of this host may run, and may ask this host.
const LIVE_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; \
                           img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Parameter that names the table of a page for its CSV.
const TABLE: &str = "table=";

/// What a request asks for; the routes below `/api/v1` carry [`Format::Json`] as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Page,
    Csv,
    Json,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Whether payloads, results and personal data are shown to the visitor.
    pub(crate) sees_payloads: bool,
}

impl Visitor {
    pub(crate) fn new(bearer: Bearer, show_payloads: bool) -> Self {
        let Bearer { name, role } = bearer;
        Self { name, role, sees_payloads: show_payloads && role == Role::Admin }
    }

    pub(crate) fn may(&self, role: Role) -> bool {
        self.role >= role
    }

    pub(crate) fn require(&self, role: Role) -> Result<(), ConsoleError> {
        if self.may(role) { Ok(()) } else { Err(ConsoleError::Forbidden(role)) }
    }
}

/// What is shown at an address.
pub(crate) trait View: Serialize {
    /// The view as a page for this visitor: forms only for what the role may do.
    fn page(&self, visitor: &Visitor) -> Page;
}

/// A request by a visitor, and the form of its answer.
pub(crate) struct Asked {
    pub(crate) visitor: Visitor,
    pub(crate) format: Format,
    uri: Uri,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = ConsoleError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ConsoleError> {
        // Set for every route that needs a visitor.
        let visitor = parts.extensions.get::<Visitor>().cloned().ok_or(ConsoleError::SignIn)?;
        let format = parts.extensions.get::<Format>().copied().unwrap_or(Format::Page);
        let uri = parts.uri.clone();
        let format = if format == Format::Page && has(&uri, "format=csv") { Format::Csv } else { format };
        Ok(Self { visitor, format, uri })
    }
}

impl Asked {
    pub(crate) fn answer(&self, view: &impl View) -> Result<Response, ConsoleError> {
        match self.format {
            Format::Json => Ok(Json(view).into_response()),
            Format::Csv => self.export(&view.page(&self.visitor)),
            Format::Page => self.page(&view.page(&self.visitor)),
        }
    }

    fn page(&self, page: &Page) -> Result<Response, ConsoleError> {
        let (is_live, every) = (has(&self.uri, "live=on"), renewed_every(self.uri.path()));
        let mut frame = frame(&self.visitor, self.uri.path());
        frame.exports = self.exports(page);
        (frame.live_href, frame.live_text) = if is_live {
            (self.address(""), "Stop renewing".to_owned())
        } else {
            (self.address("live=on"), format!("Renew every {every} s"))
        };
        frame.renew_seconds = is_live.then_some(every);
        let mut response = html(page, &frame)?;
        if is_live {
            // All other pages run no script at all.
            let policy = HeaderValue::from_static(LIVE_POLICY);
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        Ok(response)
    }

    /// The table that the address names, or the first one, as CSV.
    fn export(&self, page: &Page) -> Result<Response, ConsoleError> {
        let name = value(&self.uri, TABLE).filter(|name| !name.is_empty());
        let Some(table) = page.tables().find(|table| name.is_none_or(|name| table.name == name)) else {
            let names: Vec<&str> = page.tables().map(|table| table.name).collect();
            return Err(ConsoleError::Input(format!("table: use one of {}", names.join(", "))));
        };
        let next = Some(&table.next).filter(|next| !next.is_empty());
        let next = next.map(|next| format!("{next}&format=csv&{TABLE}{}", table.name));
        Ok(csv(table, next.as_deref()))
    }

    /// A link to each table of the page as CSV, with its name where there are several.
    fn exports(&self, page: &Page) -> Vec<Link> {
        let has_others = page.tables().nth(1).is_some();
        let link = |(place, table): (usize, &Table)| {
            let text = if has_others { format!("CSV: {}", table.name) } else { "CSV".to_owned() };
            let with = if place == 0 { String::new() } else { format!("&{TABLE}{}", table.name) };
            Link { text, href: self.address(&format!("format=csv{with}")), is_current: false }
        };
        page.tables().enumerate().map(link).collect()
    }

    /// The address of this page with another form of answer.
    fn address(&self, with: &str) -> String {
        let query = self.uri.query().unwrap_or_default();
        let is_of_form = |pair: &str| pair.starts_with("live=") || pair.starts_with(TABLE);
        let kept = query.split('&').filter(|pair| !pair.is_empty() && !is_of_form(pair));
        let pairs: Vec<&str> = kept.chain(Some(with).filter(|with| !with.is_empty())).collect();
        let path = self.uri.path();
        if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
    }
}

/// Seconds between the renewals of the page at this path. Lists renew less often: each tab reads its own from the
/// stores, while the other pages show one thing, or the figures that all of them share.
fn renewed_every(path: &str) -> u32 {
    if ["/jobs", "/dead", "/schedules", "/limits", "/operations", "/audit"].contains(&path) { 15 } else { 5 }
}

/// The frame of a page at this path.
pub(crate) fn frame(visitor: &Visitor, path: &str) -> Frame {
    let is_at = |href: &str| path == href || href != "/" && path.starts_with(&format!("{href}/"));
    let link = |(text, href): (&str, &str)| Link {
        text: text.to_owned(),
        href: href.to_owned(),
        is_current: is_at(href),
    };
    Frame {
        stylesheet: STYLESHEET,
        script: SCRIPT,
        is_signed_in: true,
        who: visitor.name.clone(),
        role: visitor.role.as_str(),
        navigation: NAVIGATION.map(link).into(),
        live_href: path.to_owned(),
        live_text: "Reload".to_owned(),
        ..Frame::default()
    }
}

/// The parameters of a query.
pub(crate) fn parameters<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ConsoleError> {
    match query {
        Ok(Query(parameters)) => Ok(parameters),
        Err(rejection) => Err(ConsoleError::Input(rejection.body_text())),
    }
}

/// A condition that is set: forms send empty fields, too.
pub(crate) fn set(text: Option<&str>) -> Option<String> {
    text.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The value of this name, of those there are.
pub(crate) fn named<T: Copy>(
    what: &str,
    text: Option<&str>,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<Option<T>, ConsoleError> {
    let Some(text) = set(text) else { return Ok(None) };
    let found = all.iter().copied().find(|value| name(*value) == text);
    let names: Vec<&str> = all.iter().map(|value| name(*value)).collect();
    let unknown = || ConsoleError::Input(format!("{what}: use one of {}", names.join(", ")));
    found.map(Some).ok_or_else(unknown)
}

/// An id in a path or a condition.
pub(crate) fn parsed<T: std::str::FromStr<Err: Display>>(text: &str) -> Result<T, ConsoleError> {
    text.parse().map_err(|error: T::Err| ConsoleError::Input(format!("`{text}`: {error}")))
}

fn has(uri: &Uri, pair: &str) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|its| its == pair))
}

/// What follows the name of a parameter and its sign of equality in the query.
fn value<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name))
}
