//! RFC 9457 problem details: one shape for every error response.
//!
//! Guarantees: `type` and `code` are stable; internals are never shown; the body carries the request id of the header.
//! A [`Problem`] becomes a body only in [`crate::edge`], which knows the request id.

use axum::response::{IntoResponse, Response};
use base::error_class::describe;
use cache::SessionError;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use store::StoreError;
use utoipa::ToSchema;

/// Base URL of the problem types; the code follows.
const TYPE_BASE: &str = "https://orderworks.dev/problems/";
/// Registered with IANA by draft-ietf-httpapi-ratelimit-headers, section 5.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
/// The same, for a server that accepts less than usual.
const REDUCED_CAPACITY: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
/// Seconds a client should wait after a store failed to answer.
const STORE_RETRY_SECONDS: u64 = 2;

/// JSON bytes of `errors` at most: a response must not multiply what a client sends.
const ERRORS_BYTES_MAX: usize = 60 * 1024;

/// A kind of problem; its status, code and title never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    status: StatusCode,
    pub(crate) code: &'static str,
    title: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $status:ident $code:literal $title:literal;)*) => {
        impl Kind {
            $(pub(crate) const $name: Kind =
                Kind { status: StatusCode::$status, code: $code, title: $title };)*
        }
    };
}

kinds! {
    BAD_JSON = BAD_REQUEST "invalid_json" "The body is not valid JSON";
    BODY_ABORTED = BAD_REQUEST "incomplete_body" "The body did not arrive whole";
    SIGNATURE_INVALID = BAD_REQUEST "signature_invalid" "The signature is not valid";
    KEY_MISSING = BAD_REQUEST "idempotency_key_required" "An Idempotency-Key header is required";
    KEY_INVALID = BAD_REQUEST "idempotency_key_invalid" "The Idempotency-Key header is not usable";
    UNAUTHORIZED = UNAUTHORIZED "unauthorized" "A valid API key is required";
    CREDENTIALS = UNAUTHORIZED "wrong_credentials" "No account with this mail address and password";
    SESSION = UNAUTHORIZED "session_invalid" "A valid session is required";
    SECRET_KEY_REQUIRED = FORBIDDEN "secret_key_required" "A secret API key is required";
    ORDER_ACCESS = FORBIDDEN "order_access_required" "Proof of access to the order is required";
    NOT_FOUND = NOT_FOUND "not_found" "No such resource";
    ROUTE_NOT_FOUND = NOT_FOUND "route_not_found" "No such route";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method_not_allowed" "The route does not answer this method";
    BODY_TIMEOUT = REQUEST_TIMEOUT "body_timeout" "The body took too long to arrive";
    IN_FLIGHT = CONFLICT "idempotency_key_in_flight" "A request with this key is being worked on";
    OUT_OF_STOCK = CONFLICT "out_of_stock" "Not enough stock";
    PRICE_CHANGED = CONFLICT "price_changed" "The total is not the expected one";
    ORDER_STATE = CONFLICT "order_state_conflict" "The order's state does not permit this";
    ORDERS_OPEN = CONFLICT "orders_open" "Orders of the customer have not ended";
    REFUND_FAILED = CONFLICT "refund_failed" "The payment provider refused this refund";
    BELOW_RESERVED = CONFLICT "below_reserved" "Open orders have reserved more than this";
    CART_BUSY = CONFLICT "cart_busy" "The cart is being changed";
    CART_HELD = CONFLICT "cart_in_checkout" "The cart is being ordered";
    CART_CLOSED = CONFLICT "cart_closed" "The cart was ordered";
    RESERVATIONS_OFF = CONFLICT "reservations_off" "The shop reserves nothing for carts";
    ENDPOINT_LIMIT = CONFLICT "endpoint_limit_reached" "The merchant has as many endpoints as are allowed";
    NO_ENDPOINT = CONFLICT "no_endpoint_subscribed" "No enabled endpoint is subscribed to this kind of event";
    SECRET_LIMIT = CONFLICT "secret_limit_reached" "As many former secrets are valid as are allowed";
    BODY_TOO_LARGE = PAYLOAD_TOO_LARGE "body_too_large" "The body is too large";
    MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "The body must be JSON";
    INVALID = UNPROCESSABLE_ENTITY "validation_failed" "The request is not valid";
    CARD_NUMBER = UNPROCESSABLE_ENTITY "card_number_not_accepted" "Card numbers are not accepted";
    KEY_REUSED = UNPROCESSABLE_ENTITY "idempotency_key_reused" "The key was used for another request";
    TOKEN_INVALID = UNPROCESSABLE_ENTITY "token_invalid" "The token is unknown, used or expired";
    CART_EMPTY = UNPROCESSABLE_ENTITY "cart_empty" "The cart is empty";
    CART_FULL = UNPROCESSABLE_ENTITY "cart_full" "The cart holds as many products as are allowed";
    UNKNOWN_SKU = UNPROCESSABLE_ENTITY "unknown_sku" "No such product";
    WRONG_CURRENCY = UNPROCESSABLE_ENTITY "wrong_currency" "The product is sold in another currency";
    TOTAL_TOO_LARGE = UNPROCESSABLE_ENTITY "total_too_large" "The total is too large";
    AMOUNT_NOT_SUPPORTED = UNPROCESSABLE_ENTITY "amount_not_supported" "The payment provider cannot take this amount";
    REFUND_TOO_LARGE = UNPROCESSABLE_ENTITY "refund_too_large" "More than what may still be refunded";
    WAITING_ROOM = TOO_MANY_REQUESTS "waiting_room" "The shopper has to go through the waiting room";
    RATE_LIMITED = TOO_MANY_REQUESTS "rate_limited" "Too many requests";
    PROOF_REQUIRED = TOO_MANY_REQUESTS "proof_of_work_required" "A proof of work is required";
    INTERNAL = INTERNAL_SERVER_ERROR "internal_error" "The server failed";
    UNAVAILABLE = SERVICE_UNAVAILABLE "temporarily_unavailable" "The service cannot do this now";
    REDUCED_CAPACITY = SERVICE_UNAVAILABLE "reduced_capacity" "Orders wait for longer than usual";
    PRICING_UNAVAILABLE = SERVICE_UNAVAILABLE "pricing_unavailable" "The shop cannot price this now";
    STREAM_LIMIT = SERVICE_UNAVAILABLE "stream_limit_reached" "Too many event streams are open";
    TIMEOUT = GATEWAY_TIMEOUT "timeout" "The request took too long";
}

/// A fault of one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// JSON pointer into the body (RFC 6901), or `?name` for a query parameter.
    #[schema(example = "/items/0/quantity")]
    pub(crate) pointer: String,
    /// Stable code.
    #[schema(example = "out_of_range")]
    pub(crate) code: &'static str,
    /// Explanation for people.
    pub(crate) detail: String,
}

impl FieldError {
    pub(crate) fn new(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into() }
    }
}

/// What a handler needs, or the problem that ends the request.
pub(crate) type Result<T, E = Problem> = std::result::Result<T, E>;

/// A problem before it is rendered.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    headers: HeaderMap,
    violated: Option<&'static str>,
    total_minor: Option<i64>,
}

/// The body of RFC 9457 with this API's extensions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// A stable URL that names the kind of problem.
    #[serde(rename = "type")]
    #[schema(format = "uri")]
    kind: String,
    /// The kind of problem in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened in this request.
    detail: String,
    /// Stable code of the problem.
    code: &'static str,
    /// The same as the `X-Request-Id` header; quote it to support.
    request_id: String,
    /// The fields at fault; empty when no single field is.
    errors: Vec<FieldError>,
    /// Which rate limit was hit.
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<[&'static str; 1]>,
    /// What the order would come to now, where that is not the expected total.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_minor: Option<i64>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            headers: HeaderMap::new(),
            violated: None,
            total_minor: None,
        }))
    }

    /// An internal error. The code that returns it has logged the cause.
    pub(crate) fn logged() -> Self {
        Self::new(Kind::INTERNAL, "the failure was logged under the request id")
    }

    /// Logs the error, once; the client learns only whether to retry.
    pub(crate) fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable { store, .. } | StoreError::Busy { store, .. } => {
                tracing::error!(store, error = describe(error), "store unavailable");
                Self::new(Kind::UNAVAILABLE, "try again shortly; a repeated request does no harm")
                    .retry_after(STORE_RETRY_SECONDS)
            }
            other => {
                tracing::error!(error = describe(other), "store failed");
                Self::logged()
            }
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.len() {
            1 => "one field is at fault, see `errors`".to_owned(),
            count => format!("{count} fields are at fault, see `errors`"),
        };
        Self::new(Kind::INVALID, detail).with_errors(errors)
    }

    /// A missing object and another merchant's look the same, so that ids cannot be probed.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(Kind::NOT_FOUND, format!("there is no such {what}"))
    }

    pub(crate) fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.append(name, value);
        self
    }

    pub(crate) fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.0.headers.extend(headers);
        self
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub(crate) fn violating(mut self, policy: &'static str) -> Self {
        self.0.violated = Some(policy);
        self
    }

    /// With the present total of the order that was refused, where another one was expected.
    pub(crate) fn with_total(mut self, total_minor: Option<i64>) -> Self {
        self.0.total_minor = total_minor;
        self
    }

    pub(crate) fn body(self, request_id: &str) -> String {
        let type_url = self.type_url();
        let Parts { kind, detail, errors, violated, total_minor, .. } = *self.0;
        let body = ProblemBody {
            kind: type_url,
            title: kind.title,
            status: kind.status.as_u16(),
            detail,
            code: kind.code,
            request_id: request_id.to_owned(),
            errors: within(errors, ERRORS_BYTES_MAX),
            violated_policies: violated.map(|policy| [policy]),
            total_minor,
        };
        // Strings and numbers only: this cannot fail, and an empty object is still valid JSON.
        serde_json::to_string(&body).unwrap_or_else(|_| "{}".to_owned())
    }

    fn type_url(&self) -> String {
        match self.0.kind.code {
            "rate_limited" => QUOTA_EXCEEDED.to_owned(),
            "reduced_capacity" | "stream_limit_reached" => REDUCED_CAPACITY.to_owned(),
            code => format!("{TYPE_BASE}{code}"),
        }
    }
}

/// The first errors that fit into `bytes_max`.
fn within(mut errors: Vec<FieldError>, bytes_max: usize) -> Vec<FieldError> {
    let mut bytes = 0;
    let fitting = errors.iter().take_while(|error| {
        bytes += serde_json::to_string(error).map_or(bytes_max, |json| json.len() + 1);
        bytes <= bytes_max
    });
    let count = fitting.count();
    errors.truncate(count);
    errors
}

impl IntoResponse for Problem {
    /// Status and headers; the body is written by [`crate::edge`].
    fn into_response(mut self) -> Response {
        let headers = std::mem::take(&mut self.0.headers);
        let mut response = (self.0.kind.status, headers).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::of_store(&error)
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match error {
            // The connection's owner has logged the outage once; this line names the request that met it.
            SessionError::Unavailable { detail, .. } => {
                tracing::warn!(detail, "session store unavailable");
                let detail = "sessions and carts cannot be reached now; orders can be placed without them";
                Self::new(Kind::UNAVAILABLE, detail).retry_after(STORE_RETRY_SECONDS)
            }
            other => {
                tracing::error!(error = %other, "session store failed");
                Self::logged()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_stays_small_whatever_was_sent() {
        let errors = vec![FieldError::new("\u{1}".repeat(1024), "wrong_type", "expected text"); 100];
        let body = Problem::invalid(errors).body("req_1");
        assert!((32 * 1024..64 * 1024).contains(&body.len()), "{}", body.len());
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert!(body["errors"].as_array().is_some_and(|errors| !errors.is_empty()));
        assert_eq!(body["detail"], "100 fields are at fault, see `errors`");
    }
}
