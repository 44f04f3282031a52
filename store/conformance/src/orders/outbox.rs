//! Cases of the outbox: leases, order within a subject, nothing lost.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use store::{
    OrderStore,
    domain::{EventId, OrderId, OrderStatus},
    outbox::{Backlog, Command, OutboxBody, OutboxMessage, Position, Submitted},
};

use super::{
    OrdersFixture,
    fixture::{LEASE, subject},
};

/// Longest wait for a hint; never reached when the store works.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn messages_come_oldest_first(store: Arc<dyn OrderStore>) {
    let world = shop(store).await;
    let mut placed = Vec::new();
    for _ in 0..5 {
        placed.push(world.placed(&[("mug", 1)]).await.id);
    }
    assert!(world.claim("a", 2).await.len() <= 2, "within the limit");
    let messages = world.claim("a", 100).await;
    assert!(messages.is_sorted_by(|a, b| a.position < b.position));
    assert_eq!(messages.iter().filter_map(subject).collect::<Vec<_>>(), placed);
    for (message, id) in messages.iter().zip(placed) {
        assert_eq!(message.body, OutboxBody::Event(world.events(id).await[0].clone()));
    }
}

pub async fn a_lease_keeps_others_away_until_it_ends(store: Arc<dyn OrderStore>) {
    let world = shop(store).await;
    world.placed(&[("mug", 1)]).await;
    let taken = world.claim("a", 100).await;
    assert_eq!(taken.len(), 1);
    world.time.pass(LEASE / 2);
    assert!(world.claim("b", 100).await.is_empty());
    world.time.pass(LEASE);
    assert_eq!(world.claim("b", 100).await, taken);
    assert!(world.claim("a", 100).await.is_empty(), "it is the other's now");
}

pub async fn a_relay_gets_its_own_again(store: Arc<dyn OrderStore>) {
    let world = shop(store).await;
    world.placed(&[("mug", 1)]).await;
    let first = world.claim("a", 100).await;
    assert_eq!(world.claim("a", 100).await, first, "a restarted relay goes on at once");
    world.placed(&[("mug", 1)]).await;
    let both = world.claim("a", 100).await;
    assert_eq!((both.len(), &both[0]), (2, &first[0]));
    // Claiming again renews the lease.
    for _ in 0..4 {
        world.time.pass(LEASE / 2);
        assert_eq!(world.claim("a", 100).await, both);
        assert!(world.claim("b", 100).await.is_empty());
    }
}

pub async fn an_order_is_never_split_between_relays(store: Arc<dyn OrderStore>) {
    let world = shop(store).await;
    // The three messages of this order are older than the one of the other order.
    let first = world.order_in(OrderStatus::Paid).await.id;
    let second = world.placed(&[("mug", 1)]).await.id;
    let mine = world.claim("a", 1).await;
    assert_eq!(mine.iter().filter_map(subject).collect::<Vec<_>>(), [first]);
    let theirs = world.claim("b", 100).await;
    assert_eq!(theirs.iter().filter_map(subject).collect::<Vec<_>>(), [second]);
    // New messages of a subject leased to one relay are not claimed by the other.
    world.cancel(first).await;
    world.fail(second).await;
    assert!(world.claim("b", 100).await.iter().all(|message| subject(message) == Some(second)));
    assert!(world.claim("a", 100).await.iter().all(|message| subject(message) == Some(first)));
    // Once all claimed messages are sent, the subject is free.
    world.sent(&world.claim("a", 2).await).await;
    world.time.pass(LEASE * 2);
    let rest = world.claim("b", 100).await;
    assert_eq!(rest.iter().filter(|message| subject(message) == Some(first)).count(), 3, "{rest:?}");
}

pub async fn sent_messages_are_gone(store: Arc<dyn OrderStore>) {
    let world = shop(store).await;
    let id = world.order_in(OrderStatus::Paid).await.id;
    let messages = world.claim("a", 2).await;
    assert_eq!(messages.len(), 2);
    world.sent(&messages[..1]).await;
    // Marking again, marking nothing and marking an unknown position do no harm.
    world.sent(&messages[..1]).await;
    world.sent(&[]).await;
    world.store.mark_sent(&[Position::only(i64::MAX)], world.time.tick()).await.expect("marks");
    world.time.pass(LEASE * 2);
    let rest = world.claim("b", 100).await;
    assert_eq!(rest.len(), 2);
    assert!(!rest.contains(&messages[0]) && rest.contains(&messages[1]));
    world.sent(&rest).await;
    world.time.pass(LEASE * 2);
    assert!(world.claim("a", 100).await.is_empty());
    assert_eq!(world.kinds(id).await.len(), 3, "events outlive their sending");
}

pub async fn a_crash_hands_out_again(store: Arc<dyn OrderStore>) {
    let world = shop(store).await;
    world.order_in(OrderStatus::Fulfilled).await;
    world.order_in(OrderStatus::Cancelled).await;
    let taken = world.claim("doomed", 100).await;
    assert!(!taken.is_empty());
    world.time.pass(LEASE * 2);
    assert_eq!(world.claim("heir", 100).await, taken, "all, and in the same order");
    world.sent(&taken).await;
    world.time.pass(LEASE * 2);
    assert!(world.claim("doomed", 100).await.is_empty());
}

pub async fn arrivals_are_hinted(store: Arc<dyn OrderStore>) {
    let world = shop(store).await;
    let id = world.placed(&[("mug", 1)]).await.id;
    let mut arrivals = world.store.arrivals();
    for step in 0..3 {
        arrivals.mark_unchanged();
        match step {
            0 => drop(world.placed(&[("mug", 1)]).await),
            1 => drop(world.pay(id).await),
            _ => drop(world.inventory("mug", 70).await),
        }
        let hinted = tokio::time::timeout(PATIENCE, arrivals.changed()).await;
        hinted.expect("a hint comes").expect("the store is open");
    }
}

pub async fn the_backlog_counts_what_is_unsent(store: Arc<dyn OrderStore>) {
    let world = shop(store).await;
    assert_eq!(world.backlog().await, Backlog { messages: 0, oldest_at: None, set_aside: 0 });
    let first = world.placed(&[("mug", 1)]).await;
    let second = world.placed(&[("mug", 1)]).await;
    let oldest_at = Some(first.created_at);
    assert_eq!(world.backlog().await, Backlog { messages: 2, oldest_at, set_aside: 0 });
    let up_to = async |most| world.store.backlog_up_to(most).await.expect("reads");
    for most in [0, 1, 2, u64::MAX] {
        assert_eq!(up_to(most).await, Backlog { messages: most.min(2), oldest_at, set_aside: 0 }, "{most}");
    }
    let messages = world.claim("a", 1).await;
    assert_eq!(world.backlog().await, Backlog { messages: 2, oldest_at, set_aside: 0 }, "taken is not sent");
    world.sent(&messages).await;
    assert_eq!(
        world.backlog().await,
        Backlog { messages: 1, oldest_at: Some(second.created_at), set_aside: 0 }
    );
}

pub async fn a_message_set_aside_holds_up_its_subject_only(store: Arc<dyn OrderStore>) {
    let world = shop(store).await;
    let (first, second) = (world.placed(&[("mug", 1)]).await, world.placed(&[("mug", 1)]).await);
    let taken = world.claim("a", 100).await;
    let until = world.time.tick() + LEASE * 4;
    world.store.set_aside(&[taken[0].position], until).await.expect("sets aside");
    world.sent(&taken[1..]).await;
    world.pay(first.id).await;
    world.pay(second.id).await;
    for relay in ["a", "b"] {
        let others = world.claim(relay, 100).await;
        assert!(others.iter().all(|message| subject(message) == Some(second.id)), "{relay}: {others:?}");
        world.time.pass(LEASE);
    }
    assert_eq!(world.backlog().await.set_aside, 1);
    assert_eq!(world.store.backlog_up_to(0).await.expect("reads").set_aside, 0, "counted as far as all");
    let listed = world.store.list_set_aside(10).await.expect("lists");
    let [one] = &listed[..] else { panic!("{listed:?}") };
    let told = world.events(first.id).await;
    assert_eq!((one.id.clone(), one.order, &one.error), (told[0].id.to_string(), Some(first.id), &None));
    assert_eq!((one.merchant, one.kind.as_str()), (Some(world.merchant), "order.placed"));
    world.time.pass(LEASE * 4);
    let drained = world.drain().await;
    let of_first: Vec<_> = drained.iter().filter(|message| subject(message) == Some(first.id)).collect();
    assert_eq!(of_first.len(), 3, "in order, once it is free");
    assert_eq!(of_first[0].body, taken[0].body);
    assert!(world.store.list_set_aside(10).await.expect("lists").is_empty());
    assert_eq!(world.backlog().await, Backlog { messages: 0, oldest_at: None, set_aside: 0 });
}

pub async fn two_relays_drain_each_order_in_sequence(store: Arc<dyn OrderStore>) {
    let world = shop(store).await;
    for _ in 0..6 {
        for status in OrderStatus::ALL {
            world.order_in(status).await;
        }
    }
    let expected = world.backlog().await.messages;
    let mut rng = fastrand::Rng::with_seed(5);
    let mut sent: Vec<OutboxMessage> = Vec::new();
    let mut rounds = 0;
    while world.backlog().await.messages > 0 {
        rounds += 1;
        assert!(rounds < 1000, "the outbox does not empty");
        // Both relays hold leases at once; the messages of a relay that dies are claimed in a later round.
        let (a, b) = (world.claim("a", rng.u32(1..9)).await, world.claim("b", rng.u32(1..9)).await);
        assert!(a.iter().all(|message| b.iter().all(|other| subject(message) != subject(other))));
        for taken in [a, b] {
            if rng.u8(0..4) == 0 {
                world.time.pass(LEASE * 2);
            } else {
                world.sent(&taken).await;
                sent.extend(taken);
            }
        }
    }
    assert_eq!(u64::try_from(sent.len()).expect("few"), expected, "each once, as none died between");
    let mut positions: BTreeMap<Option<OrderId>, Vec<Position>> = BTreeMap::new();
    for message in &sent {
        positions.entry(subject(message)).or_default().push(message.position);
    }
    for (order, positions) in positions.into_iter().filter(|(order, _)| order.is_some()) {
        assert!(positions.is_sorted_by(|a, b| a < b), "{order:?}: {positions:?}");
    }
}

pub async fn a_command_is_submitted_once(store: Arc<dyn OrderStore>) {
    let world = shop(store).await;
    let order = world.placed(&[("mug", 1)]).await;
    world.drain().await;
    let (command, id) = report(order.id);
    let mut arrivals = world.store.arrivals();
    arrivals.mark_unchanged();
    assert_eq!(world.submit(id, &command).await, Submitted::Stored);
    let hinted = tokio::time::timeout(PATIENCE, arrivals.changed()).await;
    hinted.expect("a hint comes").expect("the store is open");
    assert_eq!(world.submit(id, &command).await, Submitted::Already);
    let drained = world.drain().await;
    let (merchant, trace) = (world.merchant, order.trace);
    let body = OutboxBody::Command { id, merchant, command: command.clone(), trace };
    assert_eq!(drained.iter().map(|message| &message.body).collect::<Vec<_>>(), [&body]);
    // The id of a sent command is still known.
    assert_eq!(world.submit(id, &command).await, Submitted::Already);
    assert!(world.drain().await.is_empty());
    assert_eq!(world.kinds(order.id).await.len(), 1, "commands are no events");
    let (nowhere, id) = report(OrderId::fresh(&world.time.ambient));
    assert_eq!(world.submit(id, &nowhere).await, Submitted::NoSuchOrder);
}

pub async fn a_command_submitted_at_once_is_stored_once(store: Arc<dyn OrderStore>) {
    let world = shop(store).await;
    let order = world.placed(&[("mug", 1)]).await.id;
    world.drain().await;
    let (command, id) = report(order);
    let submissions = (0..8).map(|_| world.submit(id, &command));
    let answers = futures::future::join_all(submissions).await;
    assert_eq!(answers.iter().filter(|answer| **answer == Submitted::Stored).count(), 1, "{answers:?}");
    assert_eq!(world.drain().await.len(), 1);
}

pub async fn a_delivery_is_requested_again_once_and_waits_for_no_order(store: Arc<dyn OrderStore>) {
    let world = shop(store).await;
    let order = world.placed(&[("mug", 1)]).await.id;
    let event = world.events(order).await[0].id;
    world.drain().await;
    let endpoints = vec![world.create().await.expect("room for one")];
    world.placed(&[("mug", 1)]).await;
    let command = Command::Resend { merchant: world.merchant, event, order: Some(order), endpoints };
    let id = EventId::derived(order.0, "resend");
    let submissions = (0..8).map(|_| world.submit(id, &command));
    let answers = futures::future::join_all(submissions).await;
    assert_eq!(answers.iter().filter(|answer| **answer == Submitted::Stored).count(), 1, "{answers:?}");
    assert_eq!(world.submit(id, &command).await, Submitted::Already);
    let messages = world.claim("a", 100).await;
    let bodies = messages.iter().map(|message| &message.body);
    let resends: Vec<_> = bodies.filter(|body| matches!(body, OutboxBody::Command { .. })).collect();
    assert_eq!(resends, [&OutboxBody::Command { id, merchant: world.merchant, command, trace: None }]);
    let of_order = messages.iter().filter_map(subject).filter(|of| *of == order);
    assert_eq!(of_order.count(), 0, "a subject of its own");
}

/// A provider report, and the message id derived from the provider's event id.
fn report(order: OrderId) -> (Command, EventId) {
    let command = Command::ProviderReport { order, reference: "pi_1".to_owned() };
    (command, EventId::derived(order.0, "stripe:evt_1"))
}

/// A world with a product and an empty outbox.
async fn shop(store: Arc<dyn OrderStore>) -> OrdersFixture {
    let world = OrdersFixture::new(store).await;
    world.product("mug", 250, 100).await;
    world.drain().await;
    world
}

impl OrdersFixture {
    async fn submit(&self, id: EventId, command: &Command) -> Submitted {
        self.store.submit(id, command.clone(), self.time.tick()).await.expect("answers")
    }

    async fn backlog(&self) -> Backlog {
        self.store.backlog().await.expect("reads")
    }
}
