//! Registration, proof of an address, and a new password in the place of a forgotten one.
//!
//! Mails lead to `/account/verify` and `/account/reset` with a token, or show it to paste. What was typed as a password
//! is in no page; the token is on the page that asks for it, and in no link.

use axum::response::Response;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::{
    account_form::{as_sent, field, form_page, noted},
    form::FormFields,
    html::{finish, go_to, html},
    pages::{Field, FormPage},
    public_api::{Answer, Refusal},
    visit::Visit,
};

pub(super) async fn register_form(visit: Visit) -> Response {
    finish(&visit, Ok(html(StatusCode::OK, &register_page(&visit))))
}

pub(super) async fn register(visit: Visit, fields: FormFields) -> Response {
    let (email, name, password) = (fields.get("email"), fields.get("name"), fields.exact("password"));
    let body = json!({ "email": email, "name": name, "password": password });
    let answered = match send(&visit, "/v1/customers", &body).await {
        Ok(_) => Ok(html(StatusCode::OK, &noted(verify_page(&visit, ""), visit.texts().mail_sent, false))),
        Err(refusal) if refusal.code == "validation_failed" => {
            let mut page = noted(register_page(&visit), visit.texts().check_fields, true);
            page.fields = as_sent(page.fields, &fields, &refusal.pointers);
            Ok(html(refusal.status, &page))
        }
        Err(refusal) => Err(refusal),
    };
    finish(&visit, answered)
}

pub(super) async fn verify_form(visit: Visit) -> Response {
    let page = verify_page(&visit, visit.parameter("token"));
    finish(&visit, Ok(html(StatusCode::OK, &page)))
}

pub(super) async fn verify(visit: Visit, fields: FormFields) -> Response {
    let opened = send(&visit, "/v1/customers/verify", &with_token(&fields)).await;
    let page = || noted(verify_page(&visit, fields.get("token")), visit.texts().code_invalid, true);
    finish(&visit, signed_in_or(opened, page))
}

pub(super) async fn forgot_form(visit: Visit) -> Response {
    let page = forgot_page(&visit);
    finish(&visit, Ok(html(StatusCode::OK, &page)))
}

pub(super) async fn forgot(visit: Visit, fields: FormFields) -> Response {
    let (t, body) = (visit.texts(), json!({ "email": fields.get("email") }));
    let answered = match send(&visit, "/v1/customers/password_reset", &body).await {
        Ok(_) => Ok(html(StatusCode::OK, &noted(reset_page(&visit, ""), t.send_code, false))),
        Err(refusal) if refusal.code == "validation_failed" => {
            let mut page = forgot_page(&visit);
            page.fields = as_sent(page.fields, &fields, &refusal.pointers);
            Ok(html(refusal.status, &page))
        }
        Err(refusal) => Err(refusal),
    };
    finish(&visit, answered)
}

pub(super) async fn reset_form(visit: Visit) -> Response {
    let page = reset_page(&visit, visit.parameter("token"));
    finish(&visit, Ok(html(StatusCode::OK, &page)))
}

pub(super) async fn reset(visit: Visit, fields: FormFields) -> Response {
    let set = send(&visit, "/v1/customers/password_reset/confirm", &with_token(&fields)).await;
    let page = || noted(reset_page(&visit, fields.get("token")), visit.texts().reset_invalid, true);
    finish(&visit, signed_in_or(set, page))
}

async fn send(visit: &Visit, path: &str, body: &Value) -> Result<Answer, Refusal> {
    visit.api.send(Method::POST, path, Some(body), HeaderMap::new()).await
}

fn with_token(fields: &FormFields) -> Value {
    json!({ "token": fields.get("token"), "password": fields.exact("password") })
}

/// Leads to signing in, or shows the page of a token or password that is not valid.
fn signed_in_or(
    answered: Result<Answer, Refusal>,
    page: impl FnOnce() -> FormPage,
) -> Result<Response, Refusal> {
    match answered {
        Ok(_) => Ok(go_to("/sign-in")),
        Err(refusal) if matches!(refusal.code.as_str(), "token_invalid" | "validation_failed") => {
            Ok(html(refusal.status, &page()))
        }
        Err(refusal) => Err(refusal),
    }
}

fn register_page(visit: &Visit) -> FormPage {
    let t = visit.texts();
    let fields = vec![
        field(["email", "email", "email"], t.email),
        field(["name", "text", "name"], t.name),
        field(["password", "password", "new-password"], t.password),
    ];
    noted(form_page(visit, t.register, "/account/register", fields), t.password_rule, false)
}

fn verify_page(visit: &Visit, token: &str) -> FormPage {
    let t = visit.texts();
    let password = field(["password", "password", "current-password"], t.password);
    form_page(visit, t.verify, "/account/verify", vec![code(visit, token), password])
}

fn forgot_page(visit: &Visit) -> FormPage {
    let t = visit.texts();
    let fields = vec![field(["email", "email", "username"], t.email)];
    noted(form_page(visit, t.forgot, "/account/forgot", fields), t.send_code, false)
}

fn reset_page(visit: &Visit, token: &str) -> FormPage {
    let t = visit.texts();
    let password = field(["password", "password", "new-password"], t.password);
    let fields = vec![code(visit, token), password];
    noted(form_page(visit, t.new_password, "/account/reset", fields), t.password_rule, false)
}

/// The field of the token, which a link in a mail fills in.
fn code(visit: &Visit, token: &str) -> Field {
    Field { value: token.to_owned(), ..field(["token", "text", "one-time-code"], visit.texts().code) }
}
