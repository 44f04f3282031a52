//! API reference at `/docs`: the OpenAPI document as pages, each operation with a form that sends a request.
//!
//! Guarantees: pages need no script, load their style sheet from this host and nothing else, and their policy forbids
//! all else. Forms send requests only where the process was given keys of a demo shop; no page holds a key. A form of
//! another site, or sent to a name that is not of this machine, is refused.
//!
//! The pages are written from the document alone ([`mod@reference`]), so they cannot differ from it. They are no part
//! of the API and not in its document.

mod curl;
mod fields;
mod page;
mod prose;
mod reference;
mod request;
mod sent;

use std::sync::{Arc, OnceLock};

use axum::{
    Extension, Router,
    body::to_bytes,
    extract::{Request, State},
    response::Response,
    routing::get,
};
use http::StatusCode;
use tower::ServiceExt;

use self::{
    page::{Form, page_of, page_of_all},
    reference::{Operation, Reference},
    request::FormValues,
    sent::Sent,
};
use crate::{
    config::DocsConfig,
    input::PathText,
    own_pages,
    problem::{Kind, Problem},
    routes::openapi,
    state::ApiState,
};

const STYLES: &str = include_str!("../../assets/docs.css");
/// Longest form, in bytes: twice the default of `server.body_kib` for a body, as forms encode it.
const FORM_BYTES_MAX: usize = 128 * 1024;
/// The policy of every page: a style sheet of this host, an empty icon, forms to this host.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// What the pages share.
struct Docs {
    config: DocsConfig,
    /// The API that forms send requests to: within the process, with all its limits.
    api: Router,
    reference: OnceLock<Reference>,
}

impl Docs {
    /// Written at the first visit: few processes are asked for it.
    fn reference(&self) -> Result<&Reference, Problem> {
        if let Some(reference) = self.reference.get() {
            return Ok(reference);
        }
        let document = serde_json::to_value(openapi());
        let document =
            document.map_err(|_| Problem::new(Kind::INTERNAL, "the document cannot be written"))?;
        Ok(self.reference.get_or_init(|| Reference::of(&document)))
    }
}

/// The pages; `api` is the whole API without them.
pub(crate) fn routes(api: Router, config: DocsConfig) -> Router<ApiState> {
    let docs = Arc::new(Docs { config, api, reference: OnceLock::new() });
    Router::new()
        .route("/docs", get(index))
        .route("/docs/docs.css", get(stylesheet))
        .route("/docs/{group}/{operation}", get(show).post(send))
        .layer(Extension(docs))
}

async fn index(Extension(docs): Extension<Arc<Docs>>) -> Result<Response, Problem> {
    html(StatusCode::OK, page_of_all(docs.reference()?, docs.config.keys.is_some(), ""))
}

async fn stylesheet() -> Response {
    own_pages::file(own_pages::CSS, STYLES)
}

async fn show(
    State(state): State<ApiState>,
    Extension(docs): Extension<Arc<Docs>>,
    PathText(path): PathText<(String, String)>,
) -> Result<Response, Problem> {
    let Some(operation) = find(&docs, path)? else { return unknown(&docs) };
    let fresh_key = format!("docs-{}", state.ambient.shown_uuid().simple());
    let form = docs.config.keys.is_some().then(|| Form::fresh(operation, &fresh_key));
    html(StatusCode::OK, page_of(docs.reference()?, operation, form, None))
}

async fn send(
    Extension(docs): Extension<Arc<Docs>>,
    PathText(path): PathText<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (Some(operation), Some(keys)) = (find(&docs, path)?, &docs.config.keys) else {
        return unknown(&docs);
    };
    let (parts, body) = request.into_parts();
    if !request::is_of_this_site(&parts.headers) {
        let note = "The form was sent by another site, or not to a name of this machine. Nothing was done.";
        return html(StatusCode::FORBIDDEN, page_of_all(docs.reference()?, true, note));
    }
    let too_large = |_| Problem::new(Kind::BODY_TOO_LARGE, "the form is too large");
    let values = FormValues::parse(&to_bytes(body, FORM_BYTES_MAX).await.map_err(too_large)?);
    let sent = match values.request(operation, keys, &parts) {
        Some(request) => answer(&docs.api, request).await,
        None => Sent::refused("A field holds what no request can carry. Nothing was sent."),
    };
    let form = Form::filled(operation, &values);
    html(StatusCode::OK, page_of(docs.reference()?, operation, Some(form), Some(sent)))
}

async fn answer(api: &Router, request: Request) -> Sent {
    let Ok(response) = api.clone().oneshot(request).await;
    Sent::read(response).await
}

fn find(docs: &Docs, (group, name): (String, String)) -> Result<Option<&Operation>, Problem> {
    Ok(docs.reference()?.operation(&group, &name))
}

fn unknown(docs: &Docs) -> Result<Response, Problem> {
    let note = "There is no such operation. These are all there are:";
    html(StatusCode::NOT_FOUND, page_of_all(docs.reference()?, docs.config.keys.is_some(), note))
}

fn html(status: StatusCode, page: Result<String, askama::Error>) -> Result<Response, Problem> {
    let page = page.map_err(|error| {
        tracing::error!(error = %error, "page of the reference not rendered");
        Problem::logged()
    })?;
    Ok(own_pages::page(status, page, POLICY))
}
