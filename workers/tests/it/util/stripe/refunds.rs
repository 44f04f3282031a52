//! Refunds of the stand-in, and its ledger.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{Query, State},
    http::HeaderMap,
    response::Response,
};
use serde_json::{Value, json};

use super::{Records, Reply, Stripe, error, form, missing, page};

impl Records {
    /// Refunds a part of a charge, or says why not.
    pub(super) fn refund(
        &mut self,
        intent: &str,
        amount: i64,
        created: i64,
        ours: &Value,
    ) -> Result<Value, Reply> {
        let of_charge = self.refunds.iter().filter(|refund| refund["payment_intent"] == *intent);
        let back: i64 = of_charge.filter_map(|refund| refund["amount"].as_i64()).sum();
        let Some(charged) = self.intent(intent).cloned() else { return Err(missing("payment_intent")) };
        if self.disputed.contains(intent) {
            return Err(error(400, json!({ "code": "charge_disputed" })));
        }
        let left = charged["amount"].as_i64().expect("an amount") - back;
        if left == 0 {
            return Err(error(400, json!({ "code": "charge_already_refunded" })));
        }
        if amount > left {
            return Err(error(400, json!({ "type": "invalid_request_error", "param": "amount" })));
        }
        let refund = json!({
            "id": format!("re_{}", self.refunds.len() + 1), "object": "refund", "status": "succeeded",
            "payment_intent": intent, "amount": amount, "created": created, "metadata": { "refund_id": ours },
        });
        self.ledger.push(json!({
            "id": refund["id"], "type": "refund", "order_id": charged["metadata"]["order_id"], "reference": intent,
        }));
        self.refunds.push(refund.clone());
        Ok(refund)
    }
}

pub(super) async fn create(State(shared): State<Arc<Stripe>>, headers: HeaderMap, body: String) -> Response {
    let (form, created) = (form(&body), shared.now().as_second());
    shared.answer("refund".to_owned(), &headers, |records| {
        let amount: i64 = form["amount"].parse().expect("an amount");
        let ours = json!(form.get("metadata[refund_id]"));
        let made = records.refund(&form["payment_intent"], amount, created, &ours);
        made.map_or_else(|refused| refused, |refund| (200, refund))
    })
}

pub(super) async fn list(
    State(shared): State<Arc<Stripe>>,
    Query(asked): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    shared.answer("list refunds".to_owned(), &headers, |records| {
        let of_charge =
            records.refunds.iter().filter(|refund| refund["payment_intent"] == *asked["payment_intent"]);
        page(&of_charge.cloned().collect::<Vec<_>>(), &asked)
    })
}

pub(super) async fn ledger(
    State(shared): State<Arc<Stripe>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    let reply = {
        let records = shared.records();
        let limit = asked.get("limit").map_or(100, |limit| limit.parse::<usize>().expect("a number"));
        let after = |entry: &Value| asked.get("after").is_some_and(|after| entry["id"] == **after);
        let from = records.ledger.iter().position(after).map_or(0, |position| position + 1);
        let rest = &records.ledger[from..];
        let data = &rest[..rest.len().min(limit)];
        (200, json!({ "data": data, "has_more": data.len() < rest.len() }))
    };
    shared.respond(reply)
}
