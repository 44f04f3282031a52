//! Simulated mail server and receivers of merchants, as unreliable as the seed decides.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use lettre::Message;
use parking_lot::Mutex;
use store::domain::{EndpointId, EventId};
use webhooks::{Answer, SignedPost, WebhookCarrier};
use workers::mail::{Mail, MailError, MailTransport};

use crate::{
    chance::{Chance, InjectedFault, pause},
    trace::Trace,
};

const RETRY_AFTER_MAX: Duration = Duration::from_mins(2);

/// Systems outside the shop, except the provider.
pub(crate) struct Outside {
    chance: Arc<Chance>,
    trace: Arc<Trace>,
    seen: Mutex<TakenCalls>,
}

#[derive(Default)]
struct TakenCalls {
    /// Message-IDs of the mails taken.
    mails: BTreeSet<String>,
    hooks: BTreeSet<(EndpointId, EventId)>,
    gone: BTreeSet<EndpointId>,
}

impl Outside {
    pub(crate) fn new(chance: Arc<Chance>, trace: Arc<Trace>) -> Self {
        Self { chance, trace, seen: Mutex::default() }
    }

    /// Whether the mail server took a mail with this Message-ID.
    pub(crate) fn has_mail(&self, message_id: &str) -> bool {
        self.seen.lock().mails.contains(message_id)
    }

    /// Events taken, by endpoint.
    pub(crate) fn hooks(&self) -> BTreeSet<(EndpointId, EventId)> {
        self.seen.lock().hooks.clone()
    }

    /// Closes a receiver for good.
    pub(crate) fn close(&self, endpoint: EndpointId) {
        self.seen.lock().gone.insert(endpoint);
    }

    fn receive(&self, post: &SignedPost) -> Answer {
        let endpoint = post.url.path().trim_start_matches('/').parse();
        let (Ok(endpoint), Ok(event)) = (endpoint, post.id.parse()) else {
            return Answer::of_status(404, None);
        };
        let gone = self.seen.lock().gone.contains(&endpoint);
        if gone {
            return Answer::of_status(410, None);
        }
        if self.chance.happens(InjectedFault::HookFails) {
            return match self.chance.below(4) {
                0 => Answer::failed("timeout"),
                1 => Answer::failed("connect"),
                2 => Answer::of_status(500, None),
                _ => Answer::of_status(503, Some(self.chance.up_to(RETRY_AFTER_MAX))),
            };
        }
        self.seen.lock().hooks.insert((endpoint, event));
        if self.chance.happens(InjectedFault::HookAnswerLost) {
            Answer::failed("timeout")
        } else {
            Answer::of_status(204, None)
        }
    }
}

pub(crate) fn url_of(endpoint: EndpointId) -> String {
    format!("https://hooks.example/{endpoint}")
}

#[async_trait]
impl MailTransport for Outside {
    async fn send(&self, _: &Mail<'_>, message: Message) -> Result<(), MailError> {
        pause(self.chance.travel()).await;
        let id = message.headers().get_raw("Message-ID").unwrap_or_default().to_owned();
        let result = if self.chance.happens(InjectedFault::MailBusy) {
            Err(MailError::Busy { status: 451 })
        } else {
            self.seen.lock().mails.insert(id.clone());
            let lost = self.chance.happens(InjectedFault::MailAnswerLost);
            if lost { Err(MailError::Connection("smtp_timeout")) } else { Ok(()) }
        };
        self.trace.note("mail", || format!("{id}: {result:?}"));
        pause(self.chance.travel()).await;
        result
    }
}

#[async_trait]
impl WebhookCarrier for Outside {
    async fn carry(&self, post: SignedPost) -> Answer {
        pause(self.chance.travel()).await;
        let answer = self.receive(&post);
        self.trace.note("webhook", || format!("{} {}: {:?}", post.url.path(), post.id, answer));
        pause(self.chance.travel()).await;
        answer
    }
}
