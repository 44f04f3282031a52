//! Cases of webhook endpoints and the log of attempts.

use std::{sync::Arc, time::Duration};

use store::{
    OrderStore,
    domain::{EndpointId, EventId, EventKind, OrderStatus, PageRequest},
    webhooks::{
        Disabled, DisabledReason, ENDPOINTS_PER_MERCHANT_MAX, Endpoint, EndpointChange, EndpointFinding,
        PREVIOUS_SECRETS_MAX, SecretRotated, SecretRotation, Subscription, WebhookAttempt,
    },
};

use super::OrdersFixture;
use crate::race;

pub async fn an_endpoint_is_changed_part_by_part(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let mut endpoint = world.new_endpoint(Subscription::All);
    assert!(world.store.create_endpoint(endpoint.clone()).await.expect("creates"));
    world.assert_stored(&endpoint).await;
    let kinds = Subscription::of([EventKind::OrderPaid, EventKind::OrderPlaced]);
    for change in [
        EndpointChange::default(),
        EndpointChange { url: Some("https://example.com/new".to_owned()), ..EndpointChange::default() },
        EndpointChange { events: Some(kinds), ..EndpointChange::default() },
        EndpointChange { enabled: Some(false), ..EndpointChange::default() },
        EndpointChange { events: Some(Subscription::All), enabled: Some(true), url: None },
    ] {
        endpoint.url = change.url.clone().unwrap_or(endpoint.url);
        endpoint.events = change.events.clone().unwrap_or(endpoint.events);
        endpoint.enabled = change.enabled.unwrap_or(endpoint.enabled);
        let changed =
            world.store.update_endpoint(world.merchant, endpoint.id, change).await.expect("updates");
        assert_eq!(changed.as_ref(), Some(&endpoint));
        world.assert_stored(&endpoint).await;
    }
    assert!(world.store.delete_endpoint(world.merchant, endpoint.id).await.expect("deletes"));
    assert!(!world.store.delete_endpoint(world.merchant, endpoint.id).await.expect("deletes"));
    assert_eq!(world.store.endpoint(world.merchant, endpoint.id).await.expect("reads"), None);
    assert_eq!(world.store.endpoint_by_id(endpoint.id).await.expect("reads"), None);
    let gone = world.store.update_endpoint(world.merchant, endpoint.id, EndpointChange::default()).await;
    assert_eq!(gone.expect("updates"), None);
}

pub async fn a_former_secret_is_valid_until_its_time(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let id = world.create().await.expect("room for one");
    let begin = world.time.tick();
    let after = |hours: u64| base::time::later(begin, Duration::from_hours(hours));
    let rotate = async |secret: &str, at, overlap| {
        let rotation =
            SecretRotation { secret: secret.to_owned(), at: after(at), until: after(at + overlap) };
        world.store.rotate_secret(world.merchant, id, rotation).await.expect("rotates")
    };
    let first = world.new_endpoint(Subscription::All).secret;
    for _ in 0..2 {
        let SecretRotated::Rotated(endpoint) = rotate("second", 1, 24).await else { panic!("not rotated") };
        world.assert_stored(&endpoint).await;
        assert_eq!(endpoint.secrets(after(24)), ["second", &first]);
        assert_eq!(endpoint.secrets(after(25)), ["second"]);
    }
    // As after a lost answer: the receiver still has the first one.
    let SecretRotated::Rotated(endpoint) = rotate("third", 2, 48).await else { panic!("not rotated") };
    world.assert_stored(&endpoint).await;
    assert_eq!(endpoint.secrets(after(24)), ["third", "second", &first]);
    assert_eq!(endpoint.secrets(after(49)), ["third", "second"]);
    for number in 2..PREVIOUS_SECRETS_MAX {
        assert!(matches!(rotate(&format!("more {number}"), 3, 24).await, SecretRotated::Rotated(_)));
    }
    assert_eq!(rotate("too many", 3, 24).await, SecretRotated::TooMany);
    let SecretRotated::Rotated(endpoint) = rotate("last", 3, 0).await else { panic!("not rotated") };
    world.assert_stored(&endpoint).await;
    assert_eq!(endpoint.secrets(after(3)), ["last"], "all former ones end at once");
    let rotation = SecretRotation { secret: "theirs".to_owned(), at: begin, until: begin };
    let foreign = world.neighbour().await;
    let rotated = foreign.store.rotate_secret(foreign.merchant, id, rotation).await.expect("answers");
    assert_eq!(rotated, SecretRotated::NotFound);
}

pub async fn an_endpoint_that_fails_for_days_is_disabled_and_told_of(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let id = world.create().await.expect("room for one");
    let days = |count: u64| Duration::from_hours(24 * count);
    let begin = world.time.tick();
    let note = async |finding, after| {
        let at = base::time::later(begin, after);
        let tried = "https://example.com/hooks";
        world.store.note_endpoint(world.merchant, id, tried, finding, at).await.expect("notes")
    };
    let (works, gone) = (EndpointFinding::Works, EndpointFinding::Gone);
    let fails = EndpointFinding::Fails { disable_after: Some(days(5)) };
    let stored = async || world.store.endpoint_by_id(id).await.expect("reads").expect("is there");
    let known_good = stored().await;
    assert!(!note(works, days(0)).await && !note(fails, days(0)).await && !note(fails, days(1)).await);
    assert_eq!(stored().await, Endpoint { failing_since: Some(begin), ..known_good.clone() });
    assert!(!note(works, days(2)).await, "a success resets it");
    assert_eq!(stored().await, known_good);
    assert!(!note(fails, days(3)).await && !note(fails, days(7)).await);
    assert!(!note(EndpointFinding::Fails { disable_after: None }, days(9)).await, "never");
    assert!(note(fails, days(8)).await, "five days");
    assert!(!note(fails, days(9)).await && !note(gone, days(9)).await, "once");
    let disabled = Some(Disabled { at: base::time::later(begin, days(8)), reason: DisabledReason::Failing });
    let now = stored().await;
    assert_eq!((now.enabled, now.disabled, now.times_disabled), (false, disabled, 1));
    let kind = EventKind::WebhookEndpointDisabled;
    assert!(world.store.subscribers(world.merchant, kind).await.expect("reads").is_empty());
    let on = EndpointChange { enabled: Some(true), ..EndpointChange::default() };
    let on = world.store.update_endpoint(world.merchant, id, on).await.expect("updates").expect("is there");
    assert_eq!(on, Endpoint { times_disabled: 1, ..known_good });
    assert!(note(gone, days(10)).await);
    let page = PageRequest { limit: 10, after: None };
    let events = world.store.events(world.merchant, page).await.expect("reads").items;
    let told: Vec<_> = events.iter().rev().map(|event| (event.kind, event.sequence)).collect();
    assert_eq!(told, [(kind, 1), (kind, 2)]);
    assert_eq!(events[0].data, store::event_data::endpoint_disabled(&stored().await));
}

pub async fn a_finding_about_an_earlier_url_changes_nothing(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let id = world.create().await.expect("room for one");
    let url = Some("https://example.com/new".to_owned());
    let change = EndpointChange { url, ..EndpointChange::default() };
    let moved = world.store.update_endpoint(world.merchant, id, change).await.expect("updates");
    let moved = moved.expect("is there");
    let note = async |tried: &str, finding| {
        let at = world.time.tick();
        world.store.note_endpoint(world.merchant, id, tried, finding, at).await.expect("notes")
    };
    let fails = EndpointFinding::Fails { disable_after: Some(Duration::ZERO) };
    for finding in [fails, fails, EndpointFinding::Gone] {
        assert!(!note("https://example.com/hooks", finding).await);
        assert_eq!(world.store.endpoint_by_id(id).await.expect("reads").as_ref(), Some(&moved));
    }
    assert!(note(&moved.url, EndpointFinding::Gone).await, "about the present one");
}

pub async fn endpoints_are_limited_per_merchant(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let first = world.new_endpoint(Subscription::All);
    assert!(world.store.create_endpoint(first.clone()).await.expect("creates"));
    for _ in 1..ENDPOINTS_PER_MERCHANT_MAX {
        assert!(world.create().await.is_some());
    }
    assert_eq!(world.create().await, None);
    assert!(world.neighbour().await.create().await.is_some(), "each merchant has its own");
    assert!(world.store.delete_endpoint(world.merchant, first.id).await.expect("deletes"));
    assert!(world.create().await.is_some());
    assert_eq!(world.create().await, None);
}

pub async fn endpoints_are_limited_under_concurrency(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let created = race(ENDPOINTS_PER_MERCHANT_MAX + 20, |_| {
        let world = world.clone();
        async move { world.create().await }
    })
    .await;
    assert_eq!(created.iter().flatten().count(), 50);
    let page = PageRequest { limit: 100, after: None };
    assert_eq!(world.store.endpoints(world.merchant, page).await.expect("reads").items.len(), 50);
}

pub async fn endpoints_are_paged_newest_first(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let mut expected = Vec::new();
    for _ in 0..7 {
        expected.insert(0, world.create().await.expect("there is room"));
    }
    for limit in [1, 3, 7, 50] {
        let mut seen: Vec<EndpointId> = Vec::new();
        loop {
            let page = PageRequest { limit, after: seen.last().copied() };
            let found = world.store.endpoints(world.merchant, page).await.expect("reads");
            seen.extend(found.items.iter().map(|endpoint| endpoint.id));
            if !found.has_more {
                break;
            }
        }
        assert_eq!(seen, expected, "pages of {limit}");
    }
}

pub async fn subscribers_are_enabled_and_want_the_kind(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let all = world.new_endpoint(Subscription::All);
    let paid = world.new_endpoint(Subscription::of([EventKind::OrderPaid, EventKind::OrderPlaced]));
    let none = world.new_endpoint(Subscription::of([]));
    let off = Endpoint { enabled: false, ..world.new_endpoint(Subscription::All) };
    let neighbour = world.neighbour().await;
    neighbour.create().await;
    for endpoint in [&all, &paid, &none, &off] {
        assert!(world.store.create_endpoint(endpoint.clone()).await.expect("creates"));
    }
    for kind in EventKind::ALL {
        let mut found = world.store.subscribers(world.merchant, kind).await.expect("reads");
        found.sort_unstable();
        let both = matches!(kind, EventKind::OrderPaid | EventKind::OrderPlaced);
        let expected = if both { vec![all.id, paid.id] } else { vec![all.id] };
        assert_eq!(found, expected, "{kind}");
    }
    let off_now = EndpointChange { enabled: Some(false), ..EndpointChange::default() };
    world.store.update_endpoint(world.merchant, all.id, off_now).await.expect("updates");
    let found = world.store.subscribers(world.merchant, EventKind::OrderPaid).await.expect("reads");
    assert_eq!(found, [paid.id]);
}

pub async fn attempts_are_recorded_once_and_outlive_their_endpoint(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 5).await;
    let order = world.order_in(OrderStatus::Paid).await;
    let other = world.order_in(OrderStatus::Paid).await;
    let endpoint = world.create().await.expect("there is room");
    let event = world.events(order.id).await[0].id;
    let foreign = WebhookAttempt { order: Some(other.id), ..world.attempt(endpoint, event, Some(200)) };
    world.store.record_attempt(foreign).await.expect("records");
    let mut expected = Vec::new();
    for (number, status, error) in
        [(1, None, Some("timeout")), (2, Some(503), Some("status")), (3, Some(204), None)]
    {
        let attempt = WebhookAttempt {
            order: Some(order.id),
            attempt: number,
            error: error.map(str::to_owned),
            ..world.attempt(endpoint, event, status)
        };
        for _ in 0..2 {
            world.store.record_attempt(attempt.clone()).await.expect("records");
        }
        // The same key with other content: the first record stands.
        let changed = WebhookAttempt { duration: Duration::from_secs(9), ..attempt.clone() };
        world.store.record_attempt(changed).await.expect("records");
        expected.push(attempt);
    }
    assert_eq!(world.store.attempts_of_order(order.id).await.expect("reads"), expected, "oldest first");
    world.store.delete_endpoint(world.merchant, endpoint).await.expect("deletes");
    assert_eq!(world.store.attempts_of_order(order.id).await.expect("reads"), expected, "they stay");
    // A resend counts its attempts from 1 again, at a later time.
    let resend = WebhookAttempt { order: Some(order.id), ..world.attempt(endpoint, event, Some(200)) };
    world.store.record_attempt(resend).await.expect("records");
    assert_eq!(world.store.attempts_of_order(order.id).await.expect("reads").len(), 4);
}

pub async fn delivered_means_any_2xx(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    for (status, taken) in [
        (None, false),
        (Some(199), false),
        (Some(200), true),
        (Some(299), true),
        (Some(300), false),
        (Some(500), false),
    ] {
        let endpoint = world.create().await.expect("there is room");
        world.time.tick();
        let event = EventId::fresh(&world.time.ambient);
        assert!(!world.store.delivered(endpoint, event).await.expect("reads"), "before any attempt");
        let failed = world.attempt(endpoint, event, Some(500));
        world.store.record_attempt(failed).await.expect("records");
        let attempt = WebhookAttempt { attempt: 2, ..world.attempt(endpoint, event, status) };
        assert_eq!(attempt.delivered(), taken);
        world.store.record_attempt(attempt).await.expect("records");
        let late = WebhookAttempt { attempt: 3, ..world.attempt(endpoint, event, Some(500)) };
        world.store.record_attempt(late).await.expect("records");
        assert_eq!(world.store.delivered(endpoint, event).await.expect("reads"), taken, "{status:?}");
        let other = world.create().await.expect("there is room");
        assert!(!world.store.delivered(other, event).await.expect("reads"), "another endpoint");
    }
}

impl OrdersFixture {
    pub(super) fn new_endpoint(&self, events: Subscription) -> Endpoint {
        let created_at = self.time.tick();
        Endpoint {
            id: EndpointId::fresh(&self.time.ambient),
            merchant: self.merchant,
            url: "https://example.com/hooks".to_owned(),
            events,
            secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
            enabled: true,
            failing_since: None,
            disabled: None,
            previous_secrets: Vec::new(),
            times_disabled: 0,
            created_at,
        }
    }

    /// A new endpoint for all kinds, or `None` at the limit.
    pub(super) async fn create(&self) -> Option<EndpointId> {
        let endpoint = self.new_endpoint(Subscription::All);
        let id = endpoint.id;
        self.store.create_endpoint(endpoint).await.expect("answers").then_some(id)
    }

    async fn assert_stored(&self, endpoint: &Endpoint) {
        let mine = self.store.endpoint(self.merchant, endpoint.id).await.expect("reads");
        assert_eq!(mine.as_ref(), Some(endpoint));
        assert_eq!(self.store.endpoint_by_id(endpoint.id).await.expect("reads"), mine);
    }

    pub(super) fn attempt(
        &self,
        endpoint: EndpointId,
        event: EventId,
        status: Option<u16>,
    ) -> WebhookAttempt {
        WebhookAttempt {
            endpoint,
            event,
            order: None,
            attempt: 1,
            at: self.time.tick(),
            duration: Duration::from_millis(120),
            status,
            error: None,
        }
    }
}
