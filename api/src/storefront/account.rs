//! Accounts: signing in and out, the customer's orders, and where else the customer is signed in.
//!
//! Guarantees: the session's token is in a cookie that no script reads. A customer who signs in gets a new session,
//! which replaces and ends the one in the browser, and takes the guest's cart along. What was typed as a password is in
//! no page. What customers do with their data is in [`super::own_data`].

use axum::response::Response;
use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use super::{
    account_form::{as_sent, field, form_page},
    cookies::Cookie,
    form::FormFields,
    html::{Frame, finish, go_to, html},
    money::money,
    order::status,
    pages::{AccountPage, FormPage, OrderLink, SignIn},
    public_api::{Answer, Refusal},
    texts::filled,
    views::{Account, Cart, List, LiveSession, NewSession, Order, Sessions},
    visit::{Visit, is_id, query},
};

/// Orders on a page.
const ORDERS_MAX: &str = "20";
/// Characters of a time that are its date.
const DATE_CHARS: usize = 10;
/// The one page beside the account to which signing in leads.
const CHECKOUT: &str = "checkout";

pub(super) async fn show(visit: Visit) -> Response {
    let answered = async {
        if !visit.is_signed_in {
            return Ok(go_to("/sign-in"));
        }
        let account: Account = visit.api.get("/v1/customers/current").await?;
        let mut asked = vec![("limit", ORDERS_MAX)];
        if is_id(visit.parameter("after")) {
            asked.push(("starting_after", visit.parameter("after")));
        }
        let path = format!("/v1/customers/current/orders?{}", query(&asked));
        let orders: List<Order> = visit.api.get(&path).await?;
        let sessions: Sessions = visit.api.get("/v1/sessions").await?;
        let last = orders.data.last().filter(|_| orders.has_more);
        let more = last.map(|order| format!("/account?after={}", order.id));
        let t = visit.texts();
        let page = AccountPage {
            frame: Frame::new(&visit, t.account),
            who: filled(t.signed_in_as, account.email),
            more: more.unwrap_or_default(),
            orders: orders.data.into_iter().map(|order| link(&visit, order)).collect(),
            sessions: sessions.data.iter().map(|session| sign_in_of(&visit, session)).collect(),
        };
        Ok(html(StatusCode::OK, &page))
    };
    finish(&visit, answered.await)
}

fn sign_in_of(visit: &Visit, session: &LiveSession) -> SignIn {
    let text = filled(visit.texts().session, date(&session.opened_at));
    SignIn { text: filled(&text, date(&session.used_at)), is_current: session.current }
}

fn date(time: &str) -> String {
    time.chars().take(DATE_CHARS).collect()
}

fn link(visit: &Visit, order: Order) -> OrderLink {
    OrderLink {
        date: date(&order.created_at),
        total: money(order.total_minor, &order.currency, visit.language),
        status: status(&order.status, visit.texts()),
        id: order.id,
    }
}

pub(super) async fn sign_in_form(visit: Visit) -> Response {
    let page = sign_in_page(&visit, target(visit.parameter("to")));
    finish(&visit, Ok(html(StatusCode::OK, &page)))
}

pub(super) async fn sign_in(visit: Visit, fields: FormFields) -> Response {
    let to = target(fields.get("to"));
    let body = json!({ "email": fields.get("email"), "password": fields.exact("password") });
    let answered = async {
        let opened = visit.api.send(Method::POST, "/v1/sessions", Some(&body), HeaderMap::new()).await;
        let refusal = match opened {
            Ok(answer) => return begin(&visit, to, answer.read()?).await,
            Err(refusal) => refusal,
        };
        if !matches!(refusal.code.as_str(), "wrong_credentials" | "validation_failed") {
            return Err(refusal);
        }
        let mut page = sign_in_page(&visit, to);
        page.fields = as_sent(page.fields, &fields, &[]);
        (page.note, page.is_note_bad) = (visit.texts().wrong_credentials.to_owned(), true);
        Ok(html(refusal.status, &page))
    };
    finish(&visit, answered.await)
}

/// Keeps the session in the browser, and takes the guest's cart along. A cart that cannot be merged stays a guest's.
/// The session that the browser came with ends: others may know it.
async fn begin(visit: &Visit, to: &str, session: NewSession) -> Result<Response, Refusal> {
    if visit.is_signed_in {
        visit.api.send(Method::DELETE, "/v1/sessions/current", None, HeaderMap::new()).await?;
    }
    let mut response = go_to(if to.is_empty() { "/account" } else { "/checkout" });
    visit.set(&mut response, Cookie::Session, &session.token);
    let body = match &visit.cart {
        Some(cart) => json!({ "cart": cart }),
        None => json!({}),
    };
    let mut headers = HeaderMap::new();
    if let Ok(token) = session.token.parse() {
        headers.insert("orderworks-session", token);
    }
    let path = "/v1/customers/current/cart";
    let opened = visit.api.send(Method::POST, path, Some(&body), headers).await;
    if let Ok(cart) = opened.and_then(Answer::read::<Cart>) {
        visit.set(&mut response, Cookie::Cart, &cart.id);
    }
    Ok(response)
}

pub(super) async fn sign_out(visit: Visit, _: FormFields) -> Response {
    let answered = async {
        if visit.is_signed_in {
            visit.api.send(Method::DELETE, "/v1/sessions/current", None, HeaderMap::new()).await?;
        }
        Ok(signed_out(&visit, go_to("/")))
    };
    finish(&visit, answered.await)
}

/// The answer to a visitor who is a customer no longer: the browser forgets what was the customer's.
pub(super) fn signed_out(visit: &Visit, mut response: Response) -> Response {
    for cookie in [Cookie::Session, Cookie::Cart, Cookie::Orders] {
        visit.clear(&mut response, cookie);
    }
    response
}

/// Where signing in leads: to the checkout or, as for any other text, to the account.
fn target(text: &str) -> &'static str {
    if text == CHECKOUT { CHECKOUT } else { "" }
}

pub(super) fn sign_in_page(visit: &Visit, to: &'static str) -> FormPage {
    let t = visit.texts();
    let fields = vec![
        field(["email", "email", "username"], t.email),
        field(["password", "password", "current-password"], t.password),
    ];
    let links =
        vec![("/account/register", t.register), ("/account/verify", t.verify), ("/account/forgot", t.forgot)];
    FormPage { to, links, ..form_page(visit, t.sign_in, "/sign-in", fields) }
}
