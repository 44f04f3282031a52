//! Command `inspect payment`: the payment of an order with its attempts and refunds, as the payment store holds them.

use anyhow::bail;
use base::Ambient;
use serde_json::json;
use store::domain::{Decision, OrderId, Payment, PaymentAttempt, PaymentId};

use crate::{config::Config, output, wiring::open_payments};

pub(super) async fn show(order: OrderId, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let (payments, id) = (open_payments(config, &Ambient::system()).await?, PaymentId::of_order(order));
    let Some(payment) = payments.committed_payment(id).await? else {
        bail!("{order} has no payment: it was never charged, or there is no such order");
    };
    let attempts = payments.attempts(id).await?;
    // The token of the payment method is left out: it charges the customer.
    let answer = json!({
        "id": payment.id, "order": payment.order, "merchant": payment.merchant, "status": payment.state(),
        "amount_minor": payment.amount_minor, "currency": payment.currency, "provider": payment.provider,
        "charge": payment.charge, "decision": payment.decision, "created_at": payment.created_at,
        "decided_at": payment.decided_at, "refunds": payment.refunds, "attempts": attempts,
    });
    output::answer(as_json, &answer, || described(&payment, &attempts))
}

fn described(payment: &Payment, attempts: &[PaymentAttempt]) -> String {
    let reference = match &payment.decision {
        Some(Decision::Captured { provider_reference }) => provider_reference.as_str(),
        Some(Decision::Declined { code }) => code.as_str(),
        None => payment.charge.as_deref().unwrap_or("-"),
    };
    let mut lines = vec![
        format!("id          {}", payment.id),
        format!("merchant    {}", payment.merchant),
        format!("status      {} ({reference})", payment.state()),
        format!("amount      {} {} in minor units", payment.amount_minor, payment.currency),
        format!("provider    {}", payment.provider),
        format!("opened      {}", payment.created_at),
    ];
    lines.extend(attempts.iter().map(|attempt| {
        let note = attempt.note.as_deref().unwrap_or("no result recorded");
        format!("attempt {:<3} {} {}: {note}", attempt.epoch, attempt.begun_at, attempt.worker)
    }));
    lines.extend(payment.refunds.iter().map(|refund| {
        format!(
            "refund      {} {} of {}: {:?}",
            refund.id, refund.begun_at, refund.amount_minor, refund.state
        )
    }));
    let text: String =
        lines.join("\n").chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    text + "\n"
}
