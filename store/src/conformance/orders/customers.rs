//! Registered customers.

use std::sync::Arc;

use super::World;
use crate::{
    OrderStore,
    conformance::race,
    customers::{Account, NewAccount, PasswordHash, Registration},
    domain::{Customer, CustomerId, EventKind},
    event_data,
    orders::MailRecord,
    outbox::OutboxBody,
};

impl World {
    fn new_account(&self, email: &str, key: Option<&str>) -> NewAccount {
        let at = self.time.tick();
        NewAccount {
            account: Account {
                id: CustomerId::fresh(&self.time.ambient),
                merchant: self.merchant,
                customer: Customer { email: email.to_owned(), name: "Ada Lovelace".to_owned() },
                password_hash: PasswordHash::from_phc("$argon2id$canary-hash".to_owned()),
                created_at: at,
            },
            idempotency_key: key.map(str::to_owned),
            trace: Some(base::TraceContext::fresh(&self.time.ambient)),
        }
    }

    async fn register(&self, new: &NewAccount) -> Registration {
        self.store.register(new.clone()).await.expect("answers")
    }

    async fn account_of(&self, email: &str) -> Option<Account> {
        self.store.customer_by_email(self.merchant, email).await.expect("reads")
    }
}

pub async fn a_registration_is_told_once(store: Arc<dyn OrderStore>) {
    let world = World::new(store).await;
    let new = world.new_account("Ada@Example.com", None);
    assert_eq!(world.account_of("ada@example.com").await, None);
    assert_eq!(world.register(&new).await, Registration::Registered);
    assert_eq!(world.account_of("ADA@example.COM").await.as_ref(), Some(&new.account));
    let by_id = world.store.customer_by_id(new.account.id).await.expect("reads");
    assert_eq!(by_id.as_ref(), Some(&new.account), "the address is kept as it was written");
    assert_eq!(world.register(&world.new_account("ada@example.com", None)).await, Registration::EmailTaken);

    let events = world.merchant_events().await;
    let [event] = &events[..] else { panic!("one event: {events:?}") };
    assert_eq!((event.kind, event.sequence, event.order), (EventKind::CustomerRegistered, 1, None));
    assert_eq!((event.at, event.trace), (new.account.created_at, new.trace));
    assert_eq!(event.data, event_data::customer(&new.account));
    assert_eq!(event_data::customer_id(&event.data), Some(new.account.id));
    assert!(!event.data.to_string().contains("canary"), "no secret is told: {}", event.data);
    let messages = world.drain().await;
    assert!(matches!(&messages[..], [one] if one.body == OutboxBody::Event(event.clone())), "{messages:?}");
}

pub async fn an_address_has_one_account_per_merchant(store: Arc<dyn OrderStore>) {
    let world = World::new(store).await;
    let other = world.neighbour().await;
    let (own, theirs) =
        (world.new_account("ada@example.com", Some("k")), other.new_account("ada@example.com", Some("k")));
    assert_eq!(world.register(&own).await, Registration::Registered);
    assert_eq!(other.account_of("ada@example.com").await, None);
    assert_eq!(other.register(&theirs).await, Registration::Registered);
    assert_eq!(world.account_of("ada@example.com").await, Some(own.account));
    assert_eq!(other.account_of("ada@example.com").await, Some(theirs.account));
    assert_eq!(world.merchant_events().await.len(), 1);
}

pub async fn a_repeated_key_shows_the_account_it_opened(store: Arc<dyn OrderStore>) {
    let world = World::new(store).await;
    let first = world.new_account("ada@example.com", Some("k1"));
    assert_eq!(world.register(&first).await, Registration::Registered);
    let known = Registration::KeyUsed(Box::new(first.account.clone()));
    assert_eq!(world.register(&world.new_account("ada@example.com", Some("k1"))).await, known);
    assert_eq!(world.register(&world.new_account("bob@example.com", Some("k1"))).await, known);
    assert_eq!(world.account_of("bob@example.com").await, None);
    let again = world.new_account("ada@example.com", Some("k2"));
    assert_eq!(world.register(&again).await, Registration::EmailTaken);
    // A refused request does not use up its key.
    let bob = world.new_account("bob@example.com", Some("k2"));
    assert_eq!(world.register(&bob).await, Registration::Registered);
    assert_eq!(world.merchant_events().await.len(), 2);
}

pub async fn many_at_once_open_one_account(store: Arc<dyn OrderStore>) {
    let world = World::new(store).await;
    for (round, key) in [("a", None), ("b", Some("same"))] {
        let answers = race(16, |i| {
            let (world, email) = (world.clone(), format!("{round}@example.com"));
            async move {
                let own = format!("k-{round}-{i}");
                world.register(&world.new_account(&email, key.or(Some(&own)))).await
            }
        })
        .await;
        let opened = answers.iter().filter(|answer| **answer == Registration::Registered).count();
        assert_eq!(opened, 1, "{answers:?}");
        let id = world.account_of(&format!("{round}@example.com")).await.expect("opened").id;
        for answer in answers {
            match answer {
                Registration::KeyUsed(account) => assert_eq!((key, account.id), (Some("same"), id)),
                Registration::EmailTaken => assert_eq!(key, None),
                Registration::Registered => {}
            }
        }
    }
    assert_eq!(world.merchant_events().await.len(), 2);
}

pub async fn a_mail_to_a_customer_is_recorded_once(store: Arc<dyn OrderStore>) {
    let world = World::new(store).await;
    let new = world.new_account("ada@example.com", None);
    world.register(&new).await;
    let mail = |message: &str| MailRecord {
        template: "welcome".to_owned(),
        message_id: message.to_owned(),
        sent_at: world.time.tick(),
    };
    let (subject, first) = (new.account.id.into(), mail("<1@example.com>"));
    assert!(world.store.mails(subject).await.expect("reads").is_empty());
    assert!(world.store.record_mail(subject, first.clone()).await.expect("records"));
    assert!(!world.store.record_mail(subject, mail("<2@example.com>")).await.expect("records"));
    assert_eq!(world.store.mails(subject).await.expect("reads"), [first]);
}
