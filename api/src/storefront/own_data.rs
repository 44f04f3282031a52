//! Own data of a customer who is signed in: the download, the end of all sign-ins, and the end of the account.
//!
//! Guarantees: only a form of this host changes anything, and the account ends only with its password. The download is
//! the API's export as it is, with the latest orders; the account's page, [`super::account`], lists all of them.

use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::json;

use super::{
    account::{sign_in_page, signed_out},
    account_form::{field, form_page, noted},
    form::FormFields,
    html::{finish, go_to, html},
    pages::FormPage,
    visit::Visit,
};

/// Browsers keep the download as a file of this name.
const AS_FILE: &str = "attachment; filename=\"customer-export.json\"";
/// Value of the box that is ticked to erase personal data of the orders, too.
const TICKED: &str = "yes";

pub(super) async fn download(visit: Visit) -> Response {
    let answered = async {
        if !visit.is_signed_in {
            return Ok(go_to("/sign-in"));
        }
        let mut export = visit.api.pass_on("/v1/customers/current/export").await?;
        export.headers_mut().insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(AS_FILE));
        Ok(export)
    };
    finish(&visit, answered.await)
}

pub(super) async fn sign_out_everywhere(visit: Visit, _: FormFields) -> Response {
    let answered = async {
        if visit.is_signed_in {
            visit.api.send(Method::DELETE, "/v1/sessions", None, HeaderMap::new()).await?;
        }
        Ok(signed_out(&visit, go_to("/")))
    };
    finish(&visit, answered.await)
}

pub(super) async fn delete_form(visit: Visit) -> Response {
    let answered = if visit.is_signed_in {
        html(StatusCode::OK, &noted(delete_page(&visit, false), visit.texts().delete_note, false))
    } else {
        go_to("/sign-in")
    };
    finish(&visit, Ok(answered))
}

pub(super) async fn delete(visit: Visit, fields: FormFields) -> Response {
    if !visit.is_signed_in {
        return finish(&visit, Ok(go_to("/sign-in")));
    }
    let (t, erases) = (visit.texts(), fields.get("erase") == TICKED);
    let again = |status, note: &str| html(status, &noted(delete_page(&visit, erases), note, true));
    let body = json!({ "password": fields.exact("password"), "erase_orders": erases });
    let path = "/v1/customers/current";
    let answered = match visit.api.send(Method::DELETE, path, Some(&body), HeaderMap::new()).await {
        Ok(_) => {
            let mut page = noted(sign_in_page(&visit, ""), t.account_deleted, false);
            page.frame.is_signed_in = false;
            Ok(signed_out(&visit, html(StatusCode::OK, &page)))
        }
        Err(refusal) => match refusal.code.as_str() {
            "wrong_credentials" | "validation_failed" => Ok(again(refusal.status, t.wrong_password)),
            "orders_open" => Ok(again(refusal.status, t.orders_open)),
            _ => Err(refusal),
        },
    };
    finish(&visit, answered)
}

fn delete_page(visit: &Visit, is_ticked: bool) -> FormPage {
    let t = visit.texts();
    let fields = vec![field(["password", "password", "current-password"], t.password)];
    let page = form_page(visit, t.delete_account, "/account/delete", fields);
    FormPage { tick: t.erase_orders, is_ticked, links: vec![("/account", t.account)], ..page }
}
