//! Payloads of earlier versions: one stored payload per kind must stay readable and keep its meaning. To change a
//! payload's shape, raise the job's version, teach it to upcast, and add a file beside the old one.

use base::ids::Uuid;
use jobs::Job;
use store::domain::{CustomerId, EndpointId, EventId, MerchantId, OrderId, RefundId, VerificationId};
use workers::{
    jobs::{
        ApplyProviderReport, AuditChanges, ChargePayment, DeleteExpired, DeliverWebhook, DropDeadJobs,
        ExpireOrders, FulfilOrder, MaintainPartitions, RefundPayment, SendEmail, SendVerification,
        SendWelcome,
    },
    mail::Template,
};

const ID: Uuid = Uuid::from_u128(0x0193_5a6b_7c8d_7e9f_8a0b_1c2d_3e4f_5061);

fn check<J: Job + PartialEq + std::fmt::Debug>(job: &J, golden: &str) -> &'static str {
    let golden: serde_json::Value = serde_json::from_str(golden).expect("JSON");
    let read: J = serde_json::from_value(golden.clone()).expect("yesterday's payload is readable");
    assert_eq!(&read, job, "{}", J::KIND);
    assert_eq!(serde_json::to_value(job).expect("serialises"), golden, "{}", J::KIND);
    J::KIND
}

#[test]
fn payloads_of_every_kind_stay_readable() {
    let (order, refund) = (OrderId(ID), RefundId(ID));
    let webhook =
        DeliverWebhook { endpoint: EndpointId(ID), event: EventId(ID), order: Some(order), again: false };
    let mail = SendEmail { order, template: Template::OrderConfirmation };
    let part = SendEmail { order, template: Template::PartialRefund { refund, amount_minor: 1250 } };
    check(&part, include_str!("golden/send_email_partial_refund.json"));
    let report = ApplyProviderReport { order, reference: "pi_3MtwBwLkdIwHu7ix28a3tqPa".to_owned() };
    let checked = [
        check(&report, include_str!("golden/apply_provider_report.json")),
        check(&ChargePayment { order }, include_str!("golden/charge_payment.json")),
        check(&webhook, include_str!("golden/deliver_webhook.json")),
        check(&FulfilOrder { order }, include_str!("golden/fulfil_order.json")),
        check(
            &RefundPayment { order, refund, amount_minor: 1250 },
            include_str!("golden/refund_payment.json"),
        ),
        check(&mail, include_str!("golden/send_email.json")),
        check(
            &SendVerification { merchant: MerchantId(ID), verification: VerificationId(ID) },
            include_str!("golden/send_verification.json"),
        ),
        check(&SendWelcome { customer: CustomerId(ID) }, include_str!("golden/send_welcome.json")),
    ];
    assert_eq!(workers::registry().expect("distinct kinds").kinds(), checked);
}

#[test]
fn payloads_of_every_housekeeping_kind_stay_readable() {
    let checked = [
        check(&AuditChanges {}, include_str!("golden/audit_changes.json")),
        check(&DeleteExpired {}, include_str!("golden/delete_expired.json")),
        check(&DropDeadJobs {}, include_str!("golden/drop_dead_jobs.json")),
        check(&ExpireOrders {}, include_str!("golden/expire_orders.json")),
        check(&MaintainPartitions {}, include_str!("golden/maintain_partitions.json")),
    ];
    let registry = workers::registry::housekeeping_registry().expect("distinct kinds");
    assert_eq!(registry.kinds(), checked);
    assert_eq!(registry.queues(), [workers::queues::HOUSEKEEPING]);
    assert_eq!(checked.len(), workers::queues::HOUSEKEEPING_SLOTS, "one slot for each kind");
}

#[test]
fn every_queue_has_a_default_concurrency() {
    let mut queues: Vec<_> = workers::queues::QUEUES.iter().map(|(name, _)| *name).collect();
    queues.sort_unstable();
    assert_eq!(workers::registry().expect("distinct kinds").queues(), queues);
}
