//! Rule I4: one mail per order and template, and one per partial refund. Two cannot be recorded; one may be missing, or
//! be recorded without an event.

use super::{Check, Result};
use crate::{
    jobs::SendEmail,
    mail::Template,
    subscriptions::mail_for,
    verify::finding::{Code, Finding},
};

impl Check<'_> {
    pub(super) fn mails(&mut self) -> Result<()> {
        let (facts, order) = (self.facts, self.facts.order.id);
        let recorded = |template: Template| facts.mails.iter().any(|mail| mail.template == template.name());
        for event in &facts.events {
            let Some(template) = mail_for(event).filter(|template| !recorded(*template)) else {
                continue;
            };
            // There is no address any more, and a mail that was due before the erasure is not missed.
            if facts.order.customer.is_erased() {
                continue;
            }
            let Some(job) = self.job_of::<SendEmail>(event, None)?.filter(|_| event.at < self.before) else {
                continue;
            };
            let found = format!("{} since {}", event.kind, event.at);
            let finding = Finding::missing(order, Code::MailMissing, found, job, event.at);
            self.findings.push(finding.with("template", template.name()));
        }
        let known = u64::try_from(facts.events.len()).unwrap_or(u64::MAX);
        if known < facts.order.event_sequence {
            // The event of a mail may be among the missing events, which are a violation of their own.
            return Ok(());
        }
        for mail in &facts.mails {
            let led_to = |template: Template| mail.template == template.name();
            if !facts.events.iter().filter_map(mail_for).any(led_to) {
                let people = "find out who recorded it, and whether the customer got it";
                let found = format!("sent {}, and no event asks for it", mail.sent_at);
                let finding = Finding::manual(order, Code::MailUnexpected, found, people);
                self.findings.push(finding.with("template", &mail.template));
            }
        }
        Ok(())
    }
}
