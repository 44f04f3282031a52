//! Deliveries that were given up and mails that were refused, of the order of a [`Deployment`], and a console that has
//! them as items, as the product's has: who sees their buttons, and what these do.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use base::time::earlier;
use console::{
    Console, ConsoleConfig, ConsoleParts,
    access::{AccessToken, Role},
};
use http::{Method, Request, StatusCode};
use jobs::{
    Job, JobId,
    engine::QueueSpec,
    records::{AttemptOutcome, AttemptRecord},
};
use store::{
    domain::{EndpointId, EventKind, Order},
    orders::Transition,
    webhooks::{Endpoint, Subscription},
};
use tower::ServiceExt;
use workers::{
    ended_items::{EndedItemsParts, ended_items},
    jobs::{DeliverWebhook, SendEmail},
    mail::Template,
    subscriptions::job_id,
};

use crate::util::{Deployment, Reply, Visit, attempt, secret_of};

/// Kinds of items, and the button of each on the page of an order.
const BUTTONS: [(&str, &str); 2] =
    [("webhooks", "Send given-up webhooks again"), ("mails", "Send refused mails again")];

/// A deployment whose order is cancelled, and the jobs that did not tell of it.
pub(crate) struct GivenUp {
    pub(crate) shop: Deployment,
    console: Console,
    /// Names of the kinds of items that it has.
    items: Vec<&'static str>,
    delivery: JobId,
    mail: JobId,
}

impl GivenUp {
    pub(crate) async fn open() -> Self {
        let shop = Deployment::open().await;
        let parts = shop.parts.clone();
        parts.engine.declare(&[QueueSpec::new(DeliverWebhook::QUEUE)]).await.expect("declares");
        let order = parts.orders.order_by_id(shop.order).await.expect("reads").expect("is placed");
        let endpoint = subscribed(&parts, &order).await;
        let at = parts.ambient.now();
        let cancelled = parts.orders.cancel(order.merchant, order.id, "a test", at).await.expect("cancels");
        assert!(matches!(cancelled, Transition::Now(_)), "{cancelled:?}");
        let events = parts.orders.order_events(order.id, 0).await.expect("reads");
        let event = events.iter().find(|event| event.kind == EventKind::OrderCancelled).expect("an event").id;
        let delivery = job_id(event.0, DeliverWebhook::KIND, &endpoint.to_string());
        let mail = job_id(event.0, SendEmail::KIND, &Template::OrderCancelled.name());
        let started_at = earlier(at, Duration::from_mins(1));
        let ended = [(delivery, DeliverWebhook::KIND), (mail, SendEmail::KIND)].map(|(job, kind)| {
            let (kind, outcome) = (kind.to_owned(), AttemptOutcome::Cancelled);
            let ended = attempt(job, order.id, &parts.ambient);
            AttemptRecord { kind, outcome, created_at: started_at, started_at, ..ended }
        });
        parts.records.append(ended.into()).await.expect("records");
        let parts = with_ended_items(parts);
        let items = parts.items.iter().map(|items| items.name()).collect();
        let token = |role: Role| AccessToken::new(role.as_str(), role, &secret_of(role).into());
        let tokens = Role::ALL.map(|role| token(role).expect("a usable token")).into();
        let console = Console::new(parts, ConsoleConfig { tokens, ..ConsoleConfig::default() });
        Self { shop, console, items, delivery, mail }
    }

    pub(crate) async fn get(&self, role: Role, path: &str) -> Reply {
        self.send(Visit::of(role).request(Method::GET, path, &[])).await
    }

    pub(crate) async fn post(&self, role: Role, path: &str, form: &[(&str, &str)]) -> Reply {
        self.send(Visit::of(role).request(Method::POST, path, form)).await
    }

    /// Names of the kinds of items.
    pub(crate) fn items(&self) -> Vec<&'static str> {
        self.items.clone()
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = console::app(self.console.clone()).oneshot(request).await.expect("answers");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        let body = String::from_utf8(body.to_vec()).expect("text");
        Reply { status: parts.status, headers: parts.headers, body }
    }
}

async fn subscribed(parts: &ConsoleParts, order: &Order) -> EndpointId {
    let id = EndpointId::fresh(&parts.ambient);
    let endpoint = Endpoint {
        id,
        merchant: order.merchant,
        url: "http://127.0.0.1:9/hook".to_owned(),
        events: Subscription::All,
        secret: "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned(),
        previous_secrets: Vec::new(),
        enabled: true,
        failing_since: None,
        disabled: None,
        times_disabled: 0,
        created_at: parts.ambient.now(),
    };
    assert!(parts.orders.create_endpoint(endpoint).await.expect("creates"));
    id
}

fn with_ended_items(mut parts: ConsoleParts) -> ConsoleParts {
    let ended = EndedItemsParts {
        orders: parts.orders.clone(),
        records: parts.records.clone(),
        engine: parts.engine.clone(),
        ambient: parts.ambient.clone(),
        mail_domains: false,
    };
    parts.items.extend(ended_items(&ended));
    parts
}

#[tokio::test]
async fn given_up_webhooks_and_refused_mails_of_an_order_are_sent_again_from_its_page() {
    let all = GivenUp::open().await;
    let (order, engine) = (all.shop.order.to_string(), &all.shop.parts.engine);
    let path = format!("/orders/{order}");
    let page = all.get(Role::Operator, &path).await.body;
    for ((items, button), job) in BUTTONS.into_iter().zip([all.delivery, all.mail]) {
        let hidden = format!(r#"name="items" value="{items}""#);
        assert!(page.contains(button) && page.contains(&hidden), "{items}: {page}");
        assert!(engine.find(job).await.expect("asks").is_none(), "no queue holds it");
        let form = [("items", items), ("verb", "retry"), ("subject", &*order), ("why", "it is repaired")];
        let previewed = all.post(Role::Operator, "/operations", &form).await;
        assert_eq!(previewed.status, StatusCode::SEE_OTHER, "{items}: {}", previewed.body);
        let operation = previewed.location();
        let asked = all.get(Role::Operator, &operation).await.body;
        assert!(asked.contains("is sent with fresh attempts, unless it was meanwhile"), "{asked}");
        assert!(engine.find(job).await.expect("asks").is_none(), "it is not confirmed");
        let confirmed = all.post(Role::Operator, &format!("{operation}/confirm"), &[]).await;
        assert_eq!(confirmed.status, StatusCode::SEE_OTHER, "{items}: {}", confirmed.body);
        let done = all.get(Role::Operator, &operation).await.body;
        assert!(done.contains("1 done, 0 skipped, 0 failed"), "{items}: {done}");
        let held = engine.find(job).await.expect("asks").expect("is published").envelope;
        assert_eq!((held.attempt, held.subject.as_deref()), (0, Some(&*order)), "{items}");
    }
}

#[tokio::test]
async fn the_buttons_are_for_operators_of_a_console_that_has_the_items() {
    let all = GivenUp::open().await;
    let path = format!("/orders/{}", all.shop.order);
    let pages = [
        (all.get(Role::Viewer, &path).await, false),
        (all.get(Role::Operator, &path).await, true),
        (all.get(Role::Admin, &path).await, true),
        // Over the same stores, without the items.
        (all.shop.get(Role::Admin, &path).await, false),
    ];
    for (number, (page, is_shown)) in pages.into_iter().enumerate() {
        assert_eq!(page.status, StatusCode::OK, "{number}: {}", page.body);
        for (_, button) in BUTTONS {
            assert_eq!(page.body.contains(button), is_shown, "{button} on page {number}: {}", page.body);
        }
    }
}
