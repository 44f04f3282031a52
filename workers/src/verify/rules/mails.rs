//! Rule I4: one mail per order and template. Two cannot be recorded; one may be missing, or be recorded without an
//! event.

use jobs::engine::EngineError;

use super::window::AuditWindow;
use crate::{
    jobs::SendEmail,
    mail::Template,
    queues::EMAIL,
    subscriptions::mail_for,
    verify::{
        facts::Facts,
        finding::{Code, Finding, Repair},
    },
};

pub(super) fn check(
    facts: &Facts,
    look: &AuditWindow<'_>,
    findings: &mut Vec<Finding>,
) -> Result<(), EngineError> {
    let order = facts.order.id;
    let recorded = |template: Template| facts.mails.iter().any(|mail| mail.template == template.as_str());
    for event in &facts.events {
        let Some(template) = mail_for(event.kind).filter(|template| !recorded(*template)) else { continue };
        let Some(job) = look.job_of::<SendEmail>(event, None)?.filter(|_| look.is_due(event.at)) else {
            continue;
        };
        let (jobs, found) = (vec![job.id], format!("{} since {}", event.kind, event.at));
        let finding = Finding::of(order, Code::MailMissing, found, Repair::Publish(Box::new(job)));
        findings.push(finding.with("template", template.as_str()).unless(EMAIL, jobs, event.at));
    }
    let known = u64::try_from(facts.events.len()).unwrap_or(u64::MAX);
    if known < facts.order.event_sequence {
        // The event of a mail may be among the missing events, which are a violation of their own.
        return Ok(());
    }
    for mail in &facts.mails {
        let led_to = |template: Template| template.as_str() == mail.template;
        if !facts.events.iter().filter_map(|event| mail_for(event.kind)).any(led_to) {
            let people = Repair::Manual("find out who recorded it, and whether the customer got it");
            let found = format!("sent {}, and no event asks for it", mail.sent_at);
            findings.push(
                Finding::of(order, Code::MailUnexpected, found, people).with("template", &mail.template),
            );
        }
    }
    Ok(())
}
