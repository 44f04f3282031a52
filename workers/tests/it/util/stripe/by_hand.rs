//! Charges, refunds and disputes at the stand-in that the shop does not make.

use serde_json::{Value, json};

use super::StripeServer;

impl StripeServer {
    /// A charge with its metadata.
    pub(crate) fn charge_by_hand(&self, metadata: &Value, amount: i64) -> String {
        let mut records = self.shared.records();
        let id = format!("pi_{}", records.intents.len() + 1);
        let created = self.shared.now().as_second();
        let intent = json!({
            "id": id, "object": "payment_intent", "status": "succeeded", "amount": amount, "currency": "eur",
            "metadata": metadata, "created": created,
        });
        records.captured(&intent);
        records.intents.push(intent);
        id
    }

    /// A refund made in the dashboard, where the charge allows it.
    pub(crate) fn refund_by_hand(&self, intent: &str, amount: i64) -> bool {
        let created = self.shared.now().as_second();
        self.shared.records().refund(intent, amount, created, &Value::Null).is_ok()
    }

    /// The bank disputes the charge of an intent, so that nothing of it can be refunded.
    pub(crate) fn dispute(&self, intent: &str) {
        self.shared.records().disputed.insert(intent.to_owned());
    }

    /// The bank decides the dispute for the shop.
    pub(crate) fn win_dispute(&self, intent: &str) {
        self.shared.records().disputed.remove(intent);
    }
}
