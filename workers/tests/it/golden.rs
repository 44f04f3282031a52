//! Payloads of earlier versions: one stored payload per kind must stay readable and keep its meaning. To change a
//! payload's shape, raise the job's version, teach it to upcast, and add a file beside the old one.

use base::ids::Uuid;
use jobs::Job;
use store::domain::{CustomerId, EndpointId, EventId, MerchantId, OrderId, RefundId, VerificationId};
use workers::{
    golden::GOLDEN,
    jobs::{
        ApplyProviderReport, AuditChanges, ChargePayment, DeleteExpired, DeliverWebhook, DropDeadJobs,
        ExpireOrders, ExpireReservations, FulfilOrder, MaintainPartitions, RefundPayment, SendEmail,
        SendVerification, SendWelcome,
    },
    mail::Template,
    registry::housekeeping_registry,
};

const ID: Uuid = Uuid::from_u128(0x0193_5a6b_7c8d_7e9f_8a0b_1c2d_3e4f_5061);

/// A golden payload of the current version is the job's payload of today, and reads back as the job.
fn check<J: Job + PartialEq + std::fmt::Debug>(job: &J) -> &'static str {
    let today = serde_json::to_value(job).expect("serialises");
    let mut golden = GOLDEN.iter().filter(|golden| golden.kind == J::KIND && golden.version == J::VERSION);
    let golden = golden.find_map(|golden| {
        let payload: serde_json::Value = serde_json::from_str(golden.payload).expect("JSON");
        Some(payload).filter(|payload| *payload == today)
    });
    let golden = golden.unwrap_or_else(|| {
        panic!("{}: {today} is a new shape: raise VERSION, upcast, add a file to `golden`", J::KIND)
    });
    assert_eq!(&serde_json::from_value::<J>(golden).expect("is readable"), job, "{}", J::KIND);
    J::KIND
}

#[test]
fn golden_payloads_of_all_versions_are_read() {
    assert!(GOLDEN.is_sorted_by_key(|golden| (golden.kind, golden.version)));
    let (shop, house) = (workers::registry(), housekeeping_registry());
    let (shop, house) = (shop.expect("distinct kinds"), house.expect("distinct kinds"));
    for golden in GOLDEN {
        let of_house = house.kinds().contains(&golden.kind);
        let read = if of_house {
            house.check_payload(golden.kind, golden.version, golden.payload)
        } else {
            shop.check_payload(golden.kind, golden.version, golden.payload)
        };
        assert_eq!(read, Ok(()), "{golden:?}");
    }
}

#[test]
fn payloads_of_every_kind_stay_readable() {
    let (order, refund) = (OrderId(ID), RefundId(ID));
    let webhook =
        DeliverWebhook { endpoint: EndpointId(ID), event: EventId(ID), order: Some(order), again: false };
    let mail = SendEmail { order, template: Template::OrderConfirmation, domain: None };
    let part =
        SendEmail { order, template: Template::PartialRefund { refund, amount_minor: 1250 }, domain: None };
    check(&part);
    // With the domain, where mails are limited by it.
    let domain = Some("example.com".to_owned());
    check(&SendEmail { domain: domain.clone(), ..mail.clone() });
    check(&SendVerification {
        merchant: MerchantId(ID),
        verification: VerificationId(ID),
        domain: domain.clone(),
    });
    check(&SendWelcome { customer: CustomerId(ID), domain });
    let report = ApplyProviderReport { order, reference: "pi_3MtwBwLkdIwHu7ix28a3tqPa".to_owned() };
    let checked = [
        check(&report),
        check(&ChargePayment { order }),
        check(&webhook),
        check(&FulfilOrder { order }),
        check(&RefundPayment { order, refund, amount_minor: 1250 }),
        check(&mail),
        check(&SendVerification { merchant: MerchantId(ID), verification: VerificationId(ID), domain: None }),
        check(&SendWelcome { customer: CustomerId(ID), domain: None }),
    ];
    assert_eq!(workers::registry().expect("distinct kinds").kinds(), checked);
}

#[test]
fn payloads_of_every_housekeeping_kind_stay_readable() {
    let checked = [
        check(&AuditChanges {}),
        check(&DeleteExpired {}),
        check(&DropDeadJobs {}),
        check(&ExpireOrders {}),
        check(&ExpireReservations {}),
        check(&MaintainPartitions {}),
    ];
    let registry = housekeeping_registry().expect("distinct kinds");
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
