//! Failures on Cassandra: rivals over two sessions, callers that are dropped half-way, unreachable nodes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base::Ambient;
use scylla::{client::session::Session, value::CqlTimeuuid};
use store::{
    PaymentStore, StoreError,
    domain::{Decision, MerchantId, PaymentId, RefundId},
    payments::{Begun, Decided, RefundBegun},
};
use store_cassandra::{CassandraConfig, CassandraConnectError, CassandraLogin, CassandraPayments};
use store_conformance::race;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};

use super::{begun, capture, either, new_payment};
use crate::util::cassandra::{Keyspace, shared};

async fn two(keyspace: &Keyspace) -> [Arc<CassandraPayments>; 2] {
    [Arc::new(keyspace.store().await), Arc::new(keyspace.store().await)]
}

/// The newest ballot that a replica promised for a payment.
async fn ballot(session: &Session, id: PaymentId) -> CqlTimeuuid {
    let query = "SELECT in_progress_ballot FROM system.paxos WHERE row_key = ?";
    let rows = session.query_unpaged(query, (id.0.as_bytes().to_vec(),)).await.expect("reads");
    let rows = rows.into_rows_result().expect("rows");
    rows.rows::<(CqlTimeuuid,)>().expect("ballots").map(|row| row.expect("a ballot").0).max().expect("one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_to_display_prepares_no_ballot() {
    let Some(keyspace) = shared().await else { return };
    let (store, session, ambient) = (keyspace.store().await, keyspace.session().await, Ambient::system());
    let payment =
        store.open_payment(new_payment(&ambient, MerchantId::fresh(&ambient))).await.expect("opens");
    let opened = ballot(&session, payment.id).await;
    let shown = store.committed_payment(payment.id).await.expect("reads");
    assert_eq!((shown, ballot(&session, payment.id).await), (Some(payment.clone()), opened));
    let listed = store.committed_payments(&[payment.id]).await.expect("reads");
    assert_eq!((listed, ballot(&session, payment.id).await), (vec![payment.clone()], opened));
    // One on which a decision depends does.
    store.payment(payment.id).await.expect("reads");
    assert!(ballot(&session, payment.id).await > opened);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_rivals_over_two_sessions_agree() {
    let Some(keyspace) = shared().await else { return };
    let (stores, ambient) = (two(&keyspace).await, Ambient::system());
    let payment =
        stores[0].open_payment(new_payment(&ambient, MerchantId::fresh(&ambient))).await.expect("opens");
    let (id, at) = (payment.id, payment.created_at);

    let begins = race(40, |turn| {
        let store = either(&stores, turn as usize);
        async move { store.begin_attempt(id, "w", at).await.expect("begins") }
    });
    let epochs: BTreeSet<u64> = begins
        .await
        .into_iter()
        .map(|begun| if let Begun::Attempt { epoch } = begun { epoch } else { panic!("{begun:?}") })
        .collect();
    assert_eq!(epochs, (1..=40).collect(), "no epoch twice, none wasted");

    let decides = race(40, |turn| {
        let store = either(&stores, turn as usize);
        async move {
            store.record_decision(id, 40, capture(&format!("ch_{turn}_{id}")), at).await.expect("decides")
        }
    });
    let answers = decides.await;
    assert_eq!(answers.iter().filter(|answer| **answer == Decided::Recorded).count(), 1);
    let standing = stores[1].payment(id).await.expect("reads").expect("is stored").decision.expect("decided");
    for answer in answers.into_iter().filter(|answer| *answer != Decided::Recorded) {
        assert_eq!(answer, Decided::Already(standing.clone()));
    }

    let refunds = race(40, |turn| {
        let (store, refund) = (either(&stores, turn as usize), RefundId::fresh(&ambient));
        async move { store.begin_refund(id, refund, 90, at).await.expect("answers") }
    });
    let open = refunds.await.into_iter().filter(|answer| *answer == RefundBegun::Open).count();
    assert_eq!(open, 11, "as many as fit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_vanish_leave_nothing_that_a_repetition_does_not_complete() {
    let Some(keyspace) = shared().await else { return };
    let (stores, ambient) = (two(&keyspace).await, Ambient::system());
    let merchant = MerchantId::fresh(&ambient);
    let mut cut = 0;
    for step in 0..40_u32 {
        let new = new_payment(&ambient, merchant);
        let patience = Duration::from_micros(200) * step;
        cut += u32::from(timeout(patience, stores[0].open_payment(new.clone())).await.is_err());
        let payment = stores[1].open_payment(new.clone()).await.expect("opens again");
        let epoch = begun(&stores[1], &payment).await;
        let decision = capture(&format!("ch_{}", payment.id));
        let decide = stores[0].record_decision(payment.id, epoch, decision.clone(), new.at);
        cut += u32::from(timeout(patience, decide).await.is_err());
        let decided =
            stores[1].record_decision(payment.id, epoch, decision.clone(), new.at).await.expect("decides");
        assert!(matches!(decided, Decided::Recorded | Decided::Already(_)), "{decided:?}");
        let found = stores[1].by_provider_reference("sandbox", &format!("ch_{}", payment.id)).await;
        assert_eq!(found.expect("reads"), Some(payment.id));
    }
    assert!(cut > 0, "no call was cut off");
    let listed = stores[0].list_by_day(merchant, ambient.now(), None, 100).await.expect("lists");
    assert_eq!(listed.len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_lost_in_a_crash_come_back_with_the_repeated_call() {
    let Some(keyspace) = shared().await else { return };
    let (store, session, ambient) = (keyspace.store().await, keyspace.session().await, Ambient::system());
    let merchant = MerchantId::fresh(&ambient);
    let new = new_payment(&ambient, merchant);
    let payment = store.open_payment(new.clone()).await.expect("opens");
    let epoch = begun(&store, &payment).await;
    let reference = format!("ch_{}", payment.id);
    store.record_decision(payment.id, epoch, capture(&reference), new.at).await.expect("decides");
    let name = &keyspace.config.keyspace;
    let forget_reference = format!(
        "DELETE FROM {name}.payments_by_reference WHERE provider = 'sandbox' AND provider_reference = ?"
    );
    let day: String = new.at.to_string().chars().take("2026-11-28".len()).collect();
    let forget_day = format!("DELETE FROM {name}.payments_by_day WHERE merchant_id = ? AND day = '{day}'");

    session.query_unpaged(forget_reference.as_str(), (&reference,)).await.expect("forgets");
    assert_eq!(store.by_provider_reference("sandbox", &reference).await.expect("reads"), None);
    let again = store
        .record_decision(payment.id, epoch, Decision::Declined { code: "late".to_owned() }, new.at)
        .await;
    assert_eq!(again.expect("decides"), Decided::Already(capture(&reference)));
    assert_eq!(store.by_provider_reference("sandbox", &reference).await.expect("reads"), Some(payment.id));

    session.query_unpaged(forget_reference, (&reference,)).await.expect("forgets");
    session.query_unpaged(forget_day, (merchant.0,)).await.expect("forgets");
    assert_eq!(store.list_by_day(merchant, new.at, None, 10).await.expect("reads"), []);
    store.open_payment(new.clone()).await.expect("opens again");
    assert_eq!(store.by_provider_reference("sandbox", &reference).await.expect("reads"), Some(payment.id));
    let listed = store.list_by_day(merchant, new.at, None, 10).await.expect("reads");
    assert_eq!(listed.iter().map(|entry| entry.id).collect::<Vec<_>>(), [payment.id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_payments_are_named() {
    // A keyspace of its own: a scan of all payments in a shared one would fail on this row.
    let Some(keyspace) = Keyspace::migrated().await else { return };
    let (store, session, ambient) = (keyspace.store().await, keyspace.session().await, Ambient::system());
    let payment =
        store.open_payment(new_payment(&ambient, MerchantId::fresh(&ambient))).await.expect("opens");
    let name = &keyspace.config.keyspace;
    let damage = format!("UPDATE {name}.payments SET currency = 'euros' WHERE payment_id = ? IF epoch = 0");
    session.query_unpaged(damage, (payment.id.0,)).await.expect("damages");
    match store.payment(payment.id).await {
        Err(StoreError::Corrupt { store: "payment", detail }) => {
            assert!(detail.contains("currency") && detail.contains(&payment.id.to_string()), "{detail}");
        }
        other => panic!("read damaged data: {other:?}"),
    }
}

const SECRET: &str = "correct-horse-battery-staple";

fn with_login(node: String) -> CassandraConfig {
    let login = CassandraLogin { user: "shop".to_owned(), password: SECRET.to_owned().into() };
    CassandraConfig {
        login: Some(login),
        connect_timeout: Duration::from_millis(500),
        money_timeout: Duration::from_millis(500),
        call_timeout: Duration::from_secs(1),
        ..CassandraConfig::new([node])
    }
}

async fn refused(config: &CassandraConfig) -> CassandraConnectError {
    let error = CassandraPayments::connect(config, Ambient::system()).await.err().expect("fails");
    let mut texts = vec![format!("{error:?}"), format!("{config:?}")];
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    assert!(texts.iter().all(|text| !text.contains(SECRET)), "{texts:?}");
    error
}

#[tokio::test]
async fn without_a_node_the_error_is_clear_retryable_and_without_secrets() {
    // Bound and dropped, so nothing listens on this port.
    let free = TcpListener::bind("127.0.0.1:0").await.expect("binds").local_addr().expect("an address");
    let error = refused(&with_login(free.to_string())).await;
    assert!(matches!(error, CassandraConnectError::Unreachable { .. }) && error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains(&free.to_string()), "{error}");

    // Listens and never answers.
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let error = refused(&with_login(mute.local_addr().expect("an address").to_string())).await;
    assert!(matches!(error, CassandraConnectError::Unreachable { .. }) && error.is_retryable(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_datacenter_is_named_with_those_that_are() {
    let Some(keyspace) = shared().await else { return };
    let config = CassandraConfig { local_datacenter: "atlantis".to_owned(), ..keyspace.config.clone() };
    let error = refused(&config).await;
    let text = error.to_string();
    assert!(text.contains("atlantis") && text.contains("datacenter1") && !error.is_retryable(), "{text}");
}

/// Answers each client as a Cassandra with passwords answers a wrong login (CQL binary protocol v4, section 4.2).
async fn refusing_node() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut header = [0; 9];
                while client.read_exact(&mut header).await.is_ok() {
                    let stream = [header[2], header[3]];
                    let length = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
                    let mut body = vec![0; length as usize];
                    client.read_exact(&mut body).await.expect("a body");
                    // OPTIONS is answered by an empty SUPPORTED, STARTUP by AUTHENTICATE, AUTH_RESPONSE by ERROR
                    // 0x0100.
                    let (opcode, body) = match header[4] {
                        0x05 => (0x06, vec![0, 0]),
                        0x01 => (0x03, text("org.apache.cassandra.auth.PasswordAuthenticator")),
                        0x0F => (
                            0x00,
                            [vec![0, 0, 1, 0], text("username and/or password are incorrect")].concat(),
                        ),
                        other => panic!("a request {other} before the login"),
                    };
                    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
                    let answer = [&[0x84, 0, stream[0], stream[1], opcode][..], &length, &body].concat();
                    client.write_all(&answer).await.expect("answers");
                }
            });
        }
    });
    address
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short").to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

#[tokio::test]
async fn a_refused_login_is_told_as_such_and_without_the_password() {
    let config = with_login(refusing_node().await);
    let error = refused(&config).await;
    assert!(matches!(&error, CassandraConnectError::Login { user } if user == "shop"), "{error:?}");
    assert!(!error.is_retryable());
    let error = refused(&CassandraConfig { login: None, ..config }).await;
    assert!(matches!(&error, CassandraConnectError::Login { user } if user == "nobody"), "{error:?}");
}
