//! Cases of registered customers and the verification of their addresses.

use std::{sync::Arc, time::Duration};

use store::{
    OrderStore,
    customers::{Account, PasswordHash},
    domain::{CustomerId, EventKind, VerificationId},
    event_data,
    orders::MailRecord,
    outbox::{Command, OutboxBody},
    token::TokenHash,
    verifications::{
        MAIL_GAP, Minting, NewVerification, OpenAccount, PER_ADDRESS_MAX, Purpose, Verification,
        VerificationRequested,
    },
};

use super::OrdersFixture;
use crate::race;

const REGISTRATION_ENDS: Duration = Duration::from_hours(24);

fn hash(text: &str) -> PasswordHash {
    PasswordHash::from_phc(format!("$argon2id$canary-{text}"))
}

impl OrdersFixture {
    fn registration(&self, email: &str, key: Option<&str>) -> NewVerification {
        let purpose = Purpose::Registration { name: "Ada Lovelace".to_owned(), password_hash: hash(email) };
        self.request_for(email, purpose, key)
    }

    fn request_for(&self, email: &str, purpose: Purpose, key: Option<&str>) -> NewVerification {
        let at = self.time.tick();
        NewVerification {
            verification: Verification {
                id: VerificationId::fresh(&self.time.ambient),
                merchant: self.merchant,
                email: email.to_owned(),
                purpose,
                created_at: at,
            },
            idempotency_key: key.map(str::to_owned),
            trace: Some(base::TraceContext::fresh(&self.time.ambient)),
        }
    }

    async fn request(&self, new: &NewVerification) -> VerificationRequested {
        self.store.request_verification(new.clone()).await.expect("answers")
    }

    async fn requested(&self, email: &str) -> VerificationId {
        let new = self.registration(email, None);
        assert_eq!(self.request(&new).await, VerificationRequested::Stored);
        new.verification.id
    }

    async fn mint(&self, id: VerificationId, token: TokenHash) -> Minting {
        let at = self.time.tick();
        self.store.mint_verification(self.merchant, id, token, at).await.expect("answers")
    }

    /// Mints a token after the gap between two mails.
    async fn minted(&self, id: VerificationId, token: TokenHash) {
        self.time.pass(MAIL_GAP);
        let minted = self.mint(id, token).await;
        assert!(matches!(minted, Minting::Minted { .. }), "{minted:?}");
    }

    async fn open(&self, token: TokenHash) -> Option<Account> {
        let (customer, at) = (CustomerId::fresh(&self.time.ambient), self.time.tick());
        let trace = Some(base::TraceContext::fresh(&self.time.ambient));
        let open = OpenAccount { merchant: self.merchant, token, customer, at, trace };
        self.store.open_account(open).await.expect("answers")
    }

    async fn reset(&self, token: TokenHash, password: &str) -> Option<CustomerId> {
        let at = self.time.tick();
        self.store.reset_password(self.merchant, token, hash(password), at).await.expect("answers")
    }

    async fn reset_requested(&self, email: &str) -> VerificationId {
        let new = self.request_for(email, Purpose::PasswordReset, None);
        assert_eq!(self.request(&new).await, VerificationRequested::Stored);
        new.verification.id
    }

    pub(super) async fn registered(&self, email: &str) -> Account {
        let id = self.requested(email).await;
        self.minted(id, [9; 32]).await;
        self.open([9; 32]).await.expect("opens")
    }

    pub(super) async fn account_of(&self, email: &str) -> Option<Account> {
        self.store.customer_by_email(self.merchant, email).await.expect("reads")
    }

    async fn is_live(&self, token: TokenHash) -> bool {
        let at = self.time.tick();
        self.store.verification_by_token(self.merchant, token, at).await.expect("reads").is_some()
    }
}

pub async fn a_registration_counts_once_its_address_is_proven(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let new = world.registration("Ada@Example.com", None);
    let asked = &new.verification;
    assert_eq!(world.request(&new).await, VerificationRequested::Stored);
    let messages = world.drain().await;
    let [message] = &messages[..] else { panic!("one message: {messages:?}") };
    let domain = Some("example.com".to_owned());
    let expected = Command::Verify { merchant: world.merchant, verification: asked.id, domain };
    let OutboxBody::Command { command, trace, .. } = &message.body else { panic!("{message:?}") };
    assert_eq!((command, trace), (&expected, &new.trace));
    assert_eq!(world.account_of("ada@example.com").await, None);
    assert!(world.merchant_events().await.is_empty());

    assert!(!world.is_live([1; 32]).await);
    assert!(matches!(world.mint(asked.id, [1; 32]).await, Minting::Minted { account: None, .. }));
    let at = world.time.tick();
    let found = world.store.verification_by_token(world.merchant, [1; 32], at).await.expect("reads");
    assert_eq!(found.as_ref(), Some(asked));
    assert_eq!(world.open([2; 32]).await, None);
    let account = world.open([1; 32]).await.expect("opens");
    assert_eq!(
        (account.customer.email.as_str(), account.customer.name.as_str()),
        ("Ada@Example.com", "Ada Lovelace")
    );
    assert_eq!(account.password_hash, hash("Ada@Example.com"));
    assert_eq!(world.account_of("ADA@example.COM").await.as_ref(), Some(&account));
    let by_id = world.store.customer_by_id(account.id).await.expect("reads");
    assert_eq!(by_id.as_ref(), Some(&account));
    assert_eq!(world.open([1; 32]).await, None, "a token works once");

    let events = world.merchant_events().await;
    let [event] = &events[..] else { panic!("one event: {events:?}") };
    assert_eq!((event.kind, event.sequence, event.order), (EventKind::CustomerRegistered, 1, None));
    assert_eq!((event.at, &event.data), (account.created_at, &event_data::customer(&account)));
    assert!(event.trace.is_some() && !event.data.to_string().contains("canary"), "{event:?}");
    let messages = world.drain().await;
    assert!(matches!(&messages[..], [one] if one.body == OutboxBody::Event(event.clone())), "{messages:?}");
}

pub async fn a_known_address_gets_no_token(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let (first, late) = (world.requested("ada@example.com").await, world.requested("ADA@example.com").await);
    world.minted(first, [1; 32]).await;
    world.minted(late, [2; 32]).await;
    let account = world.open([1; 32]).await.expect("opens");
    assert!(!world.is_live([2; 32]).await, "other registrations of the address are over");
    assert_eq!(world.open([2; 32]).await, None);
    let again = world.requested("Ada@example.com").await;
    world.time.pass(MAIL_GAP);
    let Minting::Minted { account: Some(known), .. } = world.mint(again, [3; 32]).await else {
        panic!("the account is told");
    };
    assert_eq!(*known, account);
    assert!(!world.is_live([3; 32]).await);
    assert_eq!(world.account_of("ada@example.com").await, Some(account));
}

pub async fn addresses_are_apart_by_merchant(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let other = world.neighbour().await;
    let own = world.registered("ada@example.com").await;
    assert_eq!(other.account_of("ada@example.com").await, None);
    let id = other.requested("ada@example.com").await;
    assert_eq!(world.mint(id, [1; 32]).await, Minting::NotFound);
    other.minted(id, [1; 32]).await;
    assert!(!world.is_live([1; 32]).await && other.is_live([1; 32]).await);
    assert_eq!(world.open([1; 32]).await, None);
    let theirs = other.open([1; 32]).await.expect("opens");
    assert_eq!(world.account_of("ada@example.com").await, Some(own));
    assert_eq!(other.account_of("ada@example.com").await, Some(theirs));
}

pub async fn a_repeated_key_compares_no_password(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let first = world.registration("ada@example.com", Some("k1"));
    assert_eq!(world.request(&first).await, VerificationRequested::Stored);
    let mut again = world.registration("ada@example.com", Some("k1"));
    again.verification.purpose =
        Purpose::Registration { name: "Ada Lovelace".to_owned(), password_hash: hash("another") };
    assert_eq!(world.request(&again).await, VerificationRequested::Repeated);
    let bob = world.registration("bob@example.com", Some("k1"));
    assert_eq!(world.request(&bob).await, VerificationRequested::KeyReused);
    again.verification.purpose =
        Purpose::Registration { name: "Eve".to_owned(), password_hash: hash("another") };
    assert_eq!(world.request(&again).await, VerificationRequested::KeyReused);
    assert_eq!(world.drain().await.len(), 1);
    // The answers stay the same once the account is open.
    world.minted(first.verification.id, [1; 32]).await;
    let account = world.open([1; 32]).await.expect("opens");
    assert_eq!(account.password_hash, hash("ada@example.com"));
    let again = world.registration("ada@example.com", Some("k1"));
    assert_eq!(world.request(&again).await, VerificationRequested::Repeated);
    let other = world.neighbour().await;
    let theirs = other.registration("bob@example.com", Some("k1"));
    assert_eq!(other.request(&theirs).await, VerificationRequested::Stored);
}

pub async fn requests_of_an_address_are_bounded(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let reset = world.reset_requested("ada@example.com").await;
    let mut ids = Vec::new();
    for _ in 0..=PER_ADDRESS_MAX {
        ids.push(world.requested("ada@example.com").await);
    }
    assert_eq!(world.mint(ids[0], [1; 32]).await, Minting::NotFound, "the oldest gave way");
    world.minted(ids[1], [1; 32]).await;
    assert!(
        matches!(world.mint(reset, [2; 32]).await, Minting::Minted { .. }),
        "another purpose counts apart"
    );
}

pub async fn mails_to_an_address_keep_their_distance(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let (first, second) =
        (world.requested("ada@example.com").await, world.requested("ada@example.com").await);
    assert!(matches!(world.mint(first, [1; 32]).await, Minting::Minted { .. }));
    let wait = world.mint(second, [2; 32]).await;
    assert!(matches!(wait, Minting::TooSoon(wait) if wait > Duration::ZERO && wait <= MAIL_GAP), "{wait:?}");
    // A job that is repeated before its mail was recorded gets a new token in place of the first.
    assert!(matches!(world.mint(first, [3; 32]).await, Minting::Minted { .. }));
    assert!(!world.is_live([1; 32]).await && world.is_live([3; 32]).await);
    let at = world.time.tick();
    world.store.record_verification_mail(world.merchant, first, at).await.expect("records");
    assert_eq!(world.mint(first, [4; 32]).await, Minting::Mailed);
    let elsewhere = world.requested("bob@example.com").await;
    assert!(matches!(world.mint(elsewhere, [5; 32]).await, Minting::Minted { .. }));
    world.minted(second, [2; 32]).await;
}

pub async fn a_reset_sets_the_password_once(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let account = world.registered("ada@example.com").await;
    let (first, second) =
        (world.reset_requested("ada@example.com").await, world.reset_requested("ADA@example.com").await);
    world.minted(first, [1; 32]).await;
    world.minted(second, [2; 32]).await;
    assert!(!world.is_live([1; 32]).await, "one reset of an account at a time");
    assert_eq!(world.reset([1; 32], "stolen").await, None);
    assert_eq!(world.open([2; 32]).await, None, "a reset opens no account");
    assert_eq!(world.reset([2; 32], "new").await, Some(account.id));
    assert_eq!(world.reset([2; 32], "newer").await, None);
    let known = world.account_of("ada@example.com").await.expect("an account");
    assert_eq!(known, Account { password_hash: hash("new"), ..account });

    let unknown = world.reset_requested("bob@example.com").await;
    assert!(matches!(world.mint(unknown, [3; 32]).await, Minting::Minted { account: None, .. }));
    assert!(!world.is_live([3; 32]).await);
    let registration = world.requested("bob@example.com").await;
    world.minted(registration, [4; 32]).await;
    assert_eq!(world.reset([4; 32], "x").await, None, "a registration sets no password");
}

pub async fn requests_expire(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let account = world.registered("ada@example.com").await;
    let reset = world.reset_requested("ada@example.com").await;
    world.minted(reset, [1; 32]).await;
    world.time.pass(Duration::from_hours(1));
    assert!(!world.is_live([1; 32]).await);
    assert_eq!(world.reset([1; 32], "late").await, None);
    assert_eq!(world.account_of("ada@example.com").await, Some(account));

    let late = world.requested("bob@example.com").await;
    world.minted(late, [2; 32]).await;
    world.time.pass(REGISTRATION_ENDS);
    assert_eq!(world.open([2; 32]).await, None);
    assert_eq!(world.mint(late, [3; 32]).await, Minting::NotFound);
    let fresh = world.requested("eve@example.com").await;
    let now = world.time.tick();
    while world.store.expire_verifications(now, 1).await.expect("drops") > 0 {}
    world.minted(fresh, [4; 32]).await;
    let reused = world.registration("bob@example.com", Some("k"));
    assert_eq!(world.request(&reused).await, VerificationRequested::Stored);
}

pub async fn many_at_once_open_one_account(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    for i in 0..4 {
        let id = world.requested("ada@example.com").await;
        world.minted(id, [i; 32]).await;
    }
    let answers = race(16, |i| {
        let world = world.clone();
        async move { world.open([u8::try_from(i % 4).expect("small"); 32]).await }
    })
    .await;
    let opened: Vec<_> = answers.into_iter().flatten().collect();
    let [account] = &opened[..] else { panic!("one: {opened:?}") };
    assert_eq!(world.account_of("ada@example.com").await.as_ref(), Some(account));
    assert_eq!(world.merchant_events().await.len(), 1);
    let answers = race(8, |_| {
        let world = world.clone();
        async move { world.request(&world.registration("bob@example.com", Some("same"))).await }
    })
    .await;
    let stored = answers.iter().filter(|answer| **answer == VerificationRequested::Stored).count();
    assert_eq!(stored, 1, "{answers:?}");
    assert!(!answers.contains(&VerificationRequested::KeyReused));
}

pub async fn a_deleted_account_leaves_nothing_of_its_own(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let (account, bob) =
        (world.registered("ada@example.com").await, world.registered("bob@example.com").await);
    let mail = MailRecord {
        template: "welcome".to_owned(),
        message_id: "<1@example.com>".to_owned(),
        sent_at: world.time.tick(),
    };
    assert!(world.store.record_mail(account.id.into(), mail.clone()).await.expect("records"));
    let reset = world.reset_requested("ada@example.com").await;
    world.minted(reset, [1; 32]).await;
    let other = world.neighbour().await;
    assert!(!other.store.delete_account(other.merchant, account.id).await.expect("answers"));
    assert!(world.store.delete_account(world.merchant, account.id).await.expect("deletes"));
    assert!(!world.store.delete_account(world.merchant, account.id).await.expect("answers"));
    assert_eq!(world.account_of("ada@example.com").await, None);
    assert_eq!(world.reset([1; 32], "x").await, None);
    // Of a mail that was under way nothing is recorded, which is no error.
    assert!(!world.store.record_mail(account.id.into(), mail).await.expect("answers"));
    assert!(world.store.mails(account.id.into()).await.expect("reads").is_empty());
    let events = world.merchant_events().await;
    let of = |id: CustomerId| events.iter().find(|event| event_data::customer_id(&event.data) == Some(id));
    let (left, bobs) = (of(account.id).expect("an event"), of(bob.id).expect("an event"));
    assert_eq!(left.data, event_data::deleted_customer(account.id));
    assert_eq!(bobs.data, event_data::customer(&bob));
    world.registered("ada@example.com").await;
}

pub async fn a_mail_to_a_customer_is_recorded_once(store: Arc<dyn OrderStore>) {
    let world = OrdersFixture::new(store).await;
    let account = world.registered("ada@example.com").await;
    let mail = |message: &str| MailRecord {
        template: "welcome".to_owned(),
        message_id: message.to_owned(),
        sent_at: world.time.tick(),
    };
    let (subject, first) = (account.id.into(), mail("<1@example.com>"));
    assert!(world.store.mails(subject).await.expect("reads").is_empty());
    assert!(world.store.record_mail(subject, first.clone()).await.expect("records"));
    assert!(!world.store.record_mail(subject, mail("<2@example.com>")).await.expect("records"));
    assert_eq!(world.store.mails(subject).await.expect("reads"), [first]);
}
