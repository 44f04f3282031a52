//! Problems in the OpenAPI document that no handler names: what authentication, limits, the reading of requests and the
//! stores answer, with the header fields of each.

use utoipa::openapi::{
    Components, Content, Object, Ref, RefOr, Response, Type,
    header::Header,
    path::{Operation, Parameter, ParameterIn},
};

/// What decides about the problems of an operation.
#[expect(clippy::struct_excessive_bools, reason = "independent properties of one operation")]
struct Shape {
    has_body: bool,
    has_path: bool,
    has_query: bool,
    needs_secret: bool,
    /// Open to the customer of an order, by its token or by a session.
    follows_order: bool,
}

/// Responses that many operations share: status, name and description.
const SHARED: [(&str, &str, &str); 13] = [
    ("400", "BadRequest", "The body is not JSON or not whole, or a header field is missing or not usable"),
    ("401", "Unauthorized", "The API key is missing, unknown or revoked, or the session has ended"),
    ("403", "SecretKeyRequired", "The API key is a publishable one"),
    (
        "403",
        "OrderAccessRequired",
        "Without a secret key: neither the order's token nor the session of its customer",
    ),
    ("404", "NotFound", "The merchant has no such object"),
    ("408", "BodyTimeout", "The body took too long to arrive"),
    ("413", "BodyTooLarge", "The body is too large"),
    ("415", "UnsupportedMediaType", "The body is not JSON in UTF-8, or has a content coding"),
    ("422", "Invalid", "Not valid; `errors` names every fault"),
    ("429", "TooManyRequests", "Too many requests"),
    ("500", "InternalError", "The server failed"),
    ("503", "Unavailable", "A server behind the API cannot be reached; a repeated request does no harm"),
    ("504", "Timeout", "The outcome is unknown; a repeated request does no harm"),
];

impl Shape {
    /// Whether the operation may end in the shared problem of this name.
    fn may_end_in(&self, name: &str) -> bool {
        match name {
            "BadRequest" | "BodyTimeout" | "BodyTooLarge" | "UnsupportedMediaType" => self.has_body,
            "SecretKeyRequired" => self.needs_secret,
            "OrderAccessRequired" => self.follows_order,
            "NotFound" => self.has_path,
            "Invalid" => self.has_body || self.has_query,
            _ => true,
        }
    }
}

/// Adds the shared responses to those that operations can refer to.
pub(super) fn define(components: &mut Components) {
    for (status, name, description) in SHARED {
        let mut response = Response::new(description);
        complete(status, &mut response);
        components.responses.insert(name.to_owned(), RefOr::T(response));
    }
}

/// Adds every problem that the operation may end in.
pub(super) fn tell(operation: &mut Operation, path: &str) {
    // Below `/v1` only handlers with a `SecretKey` name the kind of key; all others take either.
    let needs_secret = operation.security.is_some();
    let has = |is_kind: fn(&ParameterIn) -> bool| {
        let is_kind =
            |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(p) if is_kind(&p.parameter_in));
        operation.parameters.iter().flatten().any(is_kind)
    };
    let shape = Shape {
        has_body: operation.request_body.is_some(),
        has_path: has(|kind| matches!(kind, ParameterIn::Path)),
        has_query: has(|kind| matches!(kind, ParameterIn::Query)),
        needs_secret,
        follows_order: !needs_secret && path.starts_with("/v1/orders/{id}/"),
    };
    let responses = &mut operation.responses.responses;
    responses.entry("default".to_owned()).or_insert_with(|| RefOr::T(Response::new("A problem")));
    for (status, name, _) in SHARED.iter().filter(|(_, name, _)| shape.may_end_in(name)) {
        let response = || RefOr::Ref(Ref::from_response_name(*name));
        responses.entry((*status).to_owned()).or_insert_with(response);
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response {
            complete(status, response);
        }
    }
}

/// Adds the body of a problem and the header fields that go with a status.
fn complete(status: &str, response: &mut Response) {
    if !status.starts_with('2') && status != "304" {
        let problem = Content::new(Some(Ref::from_schema_name("Problem")));
        response.content.insert("application/problem+json".to_owned(), RefOr::T(problem));
    }
    let mut tell = |name: &str, kind: Type, description: &str| {
        let mut header = Header::new(Object::with_type(kind));
        header.description = Some(description.to_owned());
        response.headers.insert(name.to_owned(), RefOr::T(header));
    };
    tell("X-Request-Id", Type::String, "Id of the request, the caller's own if it sent one");
    if matches!(status, "409" | "429" | "503") {
        tell("Retry-After", Type::Integer, "Seconds after which a repetition may succeed, where one may");
    }
    match status {
        "401" => {
            tell("WWW-Authenticate", Type::String, "`Bearer` or `Orderworks-Session`: what is not valid");
        }
        "415" => {
            tell("Accept", Type::String, "The media type that is read, if that is the fault");
            tell("Accept-Encoding", Type::String, "The content coding that is read, if that is the fault");
        }
        "429" => {
            tell("RateLimit", Type::String, "What is left of the limit");
            tell("RateLimit-Policy", Type::String, "The limit");
        }
        _ => {}
    }
}
