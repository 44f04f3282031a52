//! Subscription table: the jobs of each outbox message, the whole flow of an order on one page.
//!
//! Guarantees: a pure function; job ids are derived from the message id, the job kind and a discriminator of jobs of
//! one kind, so publishing a message again publishes the same jobs. The merchant of the message is the fair key of
//! each: a queue that is fair divides its starts among merchants.

use base::{Ambient, TraceContext, ids::Uuid};
use jobs::{Envelope, Job, JobId, engine::EngineError, envelope::EnqueueOptions};
use store::{
    domain::{EndpointId, Event, EventKind, MerchantId},
    event_data,
    outbox::{Command, OutboxBody},
};

use crate::{
    jobs::{
        ApplyProviderReport, ChargePayment, DeliverWebhook, FulfilOrder, RefundPayment, SendEmail,
        SendVerification, SendWelcome,
    },
    mail::Template,
};

type Result<T, E = EngineError> = std::result::Result<T, E>;

/// Where the jobs of a message go, as far as it does not say itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recipients<'a> {
    /// The endpoints subscribed to the event; unused for commands.
    pub subscribers: &'a [EndpointId],
    /// Domain of the address that mails go to; `None` where mails are not limited by it.
    pub mail_domain: Option<&'a str>,
}

/// The jobs of a message. `subscribers` are the endpoints subscribed to the event; unused for commands.
///
/// Fails, for this message alone, where it is unreadable or [`Envelope::new`] rejects a payload.
pub fn expand(message: &OutboxBody, subscribers: &[EndpointId], ambient: &Ambient) -> Result<Vec<Envelope>> {
    expand_for(message, Recipients { subscribers, mail_domain: None }, ambient)
}

/// [`expand`], with the domain of mails.
pub fn expand_for(
    message: &OutboxBody,
    recipients: Recipients<'_>,
    ambient: &Ambient,
) -> Result<Vec<Envelope>> {
    match message {
        OutboxBody::Event(event) => of_event(event, recipients, ambient),
        OutboxBody::Command { id, merchant, command, trace } => {
            let publish = Publish { message: id.0, merchant: *merchant, trace: trace.clone(), ambient };
            of_command(command, recipients, &publish)
        }
        OutboxBody::Unreadable(row) => Err(EngineError::Refused(row.error.clone().unwrap_or_default())),
    }
}

/// The id of a job of a message; `discriminator` tells jobs of one kind apart.
pub fn job_id(message: Uuid, kind: &str, discriminator: &str) -> JobId {
    JobId::derived(message, &format!("{kind}:{discriminator}"))
}

fn of_event(event: &Event, recipients: Recipients<'_>, ambient: &Ambient) -> Result<Vec<Envelope>> {
    let (subscribers, domain) = (recipients.subscribers, || recipients.mail_domain.map(str::to_owned));
    let (message, merchant) = (event.id.0, event.merchant);
    let publish = Publish { message, merchant, trace: event.trace.clone(), ambient };
    let mut jobs = Vec::with_capacity(2 + subscribers.len());
    if let Some(order) = event.order {
        match event.kind {
            // For a cancelled order the same job looks up a charge whose run crashed before it was recorded: the job of
            // `order.placed` may have ended or be a dead letter.
            EventKind::OrderPlaced | EventKind::OrderCancelled => {
                jobs.push(publish.job(&ChargePayment { order }, "")?);
            }
            EventKind::OrderPaid => jobs.push(publish.job(&FulfilOrder { order }, "")?),
            _ => {}
        }
        if let Some(template) = mail_for(event) {
            let mail = SendEmail { order, template, domain: domain() };
            jobs.push(publish.job(&mail, &template.name())?);
        }
    }
    if event.kind == EventKind::CustomerRegistered
        && let Some(customer) = event_data::customer_id(&event.data)
    {
        jobs.push(publish.job(&SendWelcome { customer, domain: domain() }, "")?);
    }
    for &endpoint in subscribers {
        let job = DeliverWebhook { endpoint, event: event.id, order: event.order, again: false };
        jobs.push(publish.job(&job, &endpoint.to_string())?);
    }
    Ok(jobs)
}

/// The mail of an event. One mail on the happy path: customers are told of the payment, not of every step.
pub(crate) fn mail_for(event: &Event) -> Option<Template> {
    match event.kind {
        EventKind::OrderPaid => Some(Template::OrderConfirmation),
        EventKind::PaymentFailed => Some(Template::PaymentFailed),
        EventKind::OrderCancelled => Some(Template::OrderCancelled),
        EventKind::OrderRefunded => Some(Template::OrderRefunded),
        EventKind::PaymentRefunded => {
            let (refund, amount_minor) = event_data::partial_refund(&event.data)?;
            Some(Template::PartialRefund { refund, amount_minor })
        }
        _ => None,
    }
}

fn of_command(command: &Command, recipients: Recipients<'_>, publish: &Publish<'_>) -> Result<Vec<Envelope>> {
    let job = match command {
        &Command::Refund { order, refund, amount_minor } => {
            publish.job(&RefundPayment { order, refund, amount_minor }, &refund.to_string())?
        }
        Command::ProviderReport { order, reference } => {
            publish.job(&ApplyProviderReport { order: *order, reference: reference.clone() }, reference)?
        }
        &Command::Verify { merchant, verification, .. } => {
            let domain = recipients.mail_domain.map(str::to_owned);
            publish.job(&SendVerification { merchant, verification, domain }, "")?
        }
        Command::Resend { event, order, endpoints, .. } => {
            let deliver = |&endpoint: &EndpointId| {
                let job = DeliverWebhook { endpoint, event: *event, order: *order, again: true };
                publish.job(&job, &endpoint.to_string())
            };
            return endpoints.iter().map(deliver).collect();
        }
    };
    Ok(vec![job])
}

struct Publish<'a> {
    message: Uuid,
    /// Fair key of the jobs.
    merchant: MerchantId,
    trace: Option<TraceContext>,
    ambient: &'a Ambient,
}

impl Publish<'_> {
    fn job<J: Job>(&self, job: &J, discriminator: &str) -> Result<Envelope> {
        let id = job_id(self.message, J::KIND, discriminator);
        let (trace, fair_key) = (self.trace.clone(), Some(self.merchant.to_string()));
        let options = EnqueueOptions { id: Some(id), trace, fair_key, ..EnqueueOptions::default() };
        Envelope::new(job, options, self.ambient)
    }
}

#[cfg(test)]
mod tests {
    use base::Timestamp;
    use store::domain::{EventId, OrderId, RefundId, VerificationId};

    use super::*;

    fn message(kind: EventKind, order: bool) -> OutboxBody {
        let (ambient, _) = Ambient::steered(4, Timestamp::UNIX_EPOCH);
        let event = Event {
            id: EventId::fresh(&ambient),
            merchant: MerchantId::fresh(&ambient),
            order: order.then(|| OrderId::fresh(&ambient)),
            kind,
            sequence: 1,
            at: ambient.now(),
            data: serde_json::json!({}),
            trace: Some(TraceContext::fresh(&ambient)),
        };
        OutboxBody::Event(event)
    }

    fn kinds(kind: EventKind) -> Vec<String> {
        let (ambient, _) = Ambient::steered(5, Timestamp::UNIX_EPOCH);
        let jobs = expand(&message(kind, true), &[], &ambient).expect("expands");
        jobs.into_iter().map(|job| job.kind).collect()
    }

    #[test]
    fn the_table() {
        for kind in EventKind::ALL {
            let expected: &[&str] = match kind {
                EventKind::OrderPlaced => &["charge_payment"],
                EventKind::OrderPaid => &["fulfil_order", "send_email"],
                EventKind::OrderCancelled => &["charge_payment", "send_email"],
                EventKind::OrderRefunded | EventKind::PaymentFailed => &["send_email"],
                _ => &[],
            };
            assert_eq!(kinds(kind), expected, "{kind}");
        }
    }

    #[test]
    fn expanding_again_gives_the_same_distinct_ids_subjects_and_traces() {
        let (ambient, clock) = Ambient::steered(6, Timestamp::UNIX_EPOCH);
        let endpoints = [EndpointId::fresh(&ambient), EndpointId::fresh(&ambient)];
        let message = message(EventKind::OrderPaid, true);
        let OutboxBody::Event(event) = &message else { unreachable!() };
        let first = expand(&message, &endpoints, &ambient).expect("expands");
        clock.advance(std::time::Duration::from_mins(1));
        let second = expand(&message, &endpoints, &ambient).expect("expands");
        assert_eq!(first.len(), 4);
        let ids = |jobs: &[Envelope]| jobs.iter().map(|job| job.id).collect::<Vec<_>>();
        assert_eq!(ids(&first), ids(&second));
        let distinct: std::collections::HashSet<_> = ids(&first).into_iter().collect();
        assert_eq!(distinct.len(), 4);
        for job in &first {
            assert_eq!(job.subject, event.order.map(|order| order.to_string()));
            assert_eq!(job.trace, event.trace);
            assert_eq!(job.fair_key, Some(event.merchant.to_string()));
        }
    }

    #[test]
    fn mails_carry_the_domain_that_limits_them() {
        let (ambient, _) = Ambient::steered(6, Timestamp::UNIX_EPOCH);
        let recipients = Recipients { mail_domain: Some("example.com"), ..Recipients::default() };
        let jobs = expand_for(&message(EventKind::OrderPaid, true), recipients, &ambient).expect("expands");
        let [fulfil, mail] = &jobs[..] else { panic!("two jobs: {jobs:?}") };
        let mail: SendEmail = serde_json::from_str(mail.payload.get()).expect("a payload");
        assert_eq!(mail.domain.as_deref(), Some("example.com"));
        assert!(!fulfil.payload.get().contains("example.com"), "it sends none");
    }

    #[test]
    fn catalog_events_go_to_endpoints_only() {
        let (ambient, _) = Ambient::steered(7, Timestamp::UNIX_EPOCH);
        let endpoint = EndpointId::fresh(&ambient);
        let jobs = expand(&message(EventKind::InventoryLow, false), &[endpoint], &ambient).expect("expands");
        assert_eq!(jobs.len(), 1);
        assert_eq!((jobs[0].kind.as_str(), jobs[0].subject.as_deref()), ("deliver_webhook", None));
    }

    #[test]
    fn a_providers_report_becomes_a_look_at_the_charge() {
        let (ambient, _) = Ambient::steered(9, Timestamp::UNIX_EPOCH);
        let order = OrderId::fresh(&ambient);
        let command = Command::ProviderReport { order, reference: "pi_1".to_owned() };
        let (id, merchant) = (EventId::derived(order.0, "stripe:evt_1"), MerchantId::fresh(&ambient));
        let message = OutboxBody::Command { id, merchant, command, trace: None };
        let [first, again] = [0, 1].map(|_| expand(&message, &[], &ambient).expect("expands").remove(0));
        assert_eq!(
            (first.kind.as_str(), first.subject.clone()),
            ("apply_provider_report", Some(order.to_string()))
        );
        assert_eq!(first.id, again.id);
        assert_eq!(first.fair_key, Some(merchant.to_string()), "though the command names none");
    }

    #[test]
    fn a_registration_is_welcomed() {
        let (ambient, _) = Ambient::steered(9, Timestamp::UNIX_EPOCH);
        let customer = store::domain::CustomerId::fresh(&ambient);
        let mut message = message(EventKind::CustomerRegistered, false);
        let OutboxBody::Event(event) = &mut message else { unreachable!() };
        event.data = serde_json::json!({ "id": customer });
        let jobs = expand(&message, &[], &ambient).expect("expands");
        assert_eq!(jobs.len(), 1);
        assert_eq!(
            (jobs[0].kind.as_str(), jobs[0].subject.clone()),
            ("send_welcome", Some(customer.to_string()))
        );
    }

    #[test]
    fn a_requested_proof_is_mailed() {
        let (ambient, _) = Ambient::steered(9, Timestamp::UNIX_EPOCH);
        let (merchant, verification) = (MerchantId::fresh(&ambient), VerificationId::fresh(&ambient));
        let command = Command::Verify { merchant, verification, domain: None };
        let message = OutboxBody::Command { id: EventId::fresh(&ambient), merchant, command, trace: None };
        let [first, again] = [0, 1].map(|_| expand(&message, &[], &ambient).expect("expands").remove(0));
        let subject = Some(verification.to_string());
        assert_eq!((first.kind.as_str(), first.subject), ("send_verification", subject));
        assert_eq!(first.id, again.id);
    }

    #[test]
    fn a_requested_delivery_goes_to_each_endpoint_again() {
        let (ambient, _) = Ambient::steered(9, Timestamp::UNIX_EPOCH);
        let endpoints = vec![EndpointId::fresh(&ambient), EndpointId::fresh(&ambient)];
        let (merchant, event) = (MerchantId::fresh(&ambient), EventId::fresh(&ambient));
        let command = Command::Resend { merchant, event, order: None, endpoints: endpoints.clone() };
        let message = OutboxBody::Command { id: EventId::fresh(&ambient), merchant, command, trace: None };
        let jobs = expand(&message, &[], &ambient).expect("expands");
        let payloads: Vec<DeliverWebhook> =
            jobs.iter().map(|job| serde_json::from_str(job.payload.get()).expect("a payload")).collect();
        let expected =
            endpoints.iter().map(|&endpoint| DeliverWebhook { endpoint, event, order: None, again: true });
        assert_eq!(payloads, expected.collect::<Vec<_>>());
        let first = job_id(event.0, DeliverWebhook::KIND, &endpoints[0].to_string());
        assert!(jobs[0].id != first && jobs[0].id != jobs[1].id, "jobs of their own");
    }

    #[test]
    fn a_refund_command_becomes_a_refund() {
        let (ambient, _) = Ambient::steered(8, Timestamp::UNIX_EPOCH);
        let (order, refund) = (OrderId::fresh(&ambient), RefundId::fresh(&ambient));
        let body = OutboxBody::Command {
            id: EventId::fresh(&ambient),
            merchant: MerchantId::fresh(&ambient),
            command: Command::Refund { order, refund, amount_minor: 250 },
            trace: None,
        };
        let jobs = expand(&body, &[], &ambient).expect("expands");
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].kind, "refund_payment");
        assert_eq!(jobs[0].subject, Some(order.to_string()));
    }
}
