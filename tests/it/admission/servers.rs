//! Two API processes over all servers: they share one waiting room, whose places hold and are admitted in the order of
//! arrival at both of them, and orders are told estimates that hold.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use base::{Ambient, time::later};
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    estimates::{nine_of_ten_are_on_time, until_told},
    until_visited, visit,
};
use crate::util::{Client, PATIENCE, TestMerchant, TestServers, alone};

/// Shoppers who come before the room opens.
const SHOPPERS: usize = 8;
/// Shoppers admitted per minute: each second a few of them.
const PER_MINUTE: &str = "120";
/// Time within which every process follows a switch, as docs/ADMISSION.md promises.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(2);
/// Orders of the load run.
const LOAD: usize = 60;
/// Few slots, so that orders queue up.
const SLOTS: &str = "payments=2,fulfilment=1,email=2,webhooks=2";

/// A merchant in sale mode, and a shopper's client for each of two processes.
struct Sale<'a> {
    stage: &'a TestServers,
    merchant: String,
    storefronts: [Client; 2],
}

impl<'a> Sale<'a> {
    async fn of(shop: &TestMerchant, stage: &'a TestServers, bases: [&str; 2]) -> Self {
        let merchant = shop.merchant.to_string();
        let made = stage.command(&[], &["--json", "key", "create", &merchant, "--kind", "pub"]).await;
        let made: Value = serde_json::from_str(&made).expect("is JSON");
        let key = made["key"].as_str().expect("a key");
        Self { stage, merchant, storefronts: bases.map(|base| Client::new(base, key)) }
    }

    /// Changes the sale mode by the command.
    async fn set(&self, arguments: &[&str]) {
        let command = ["merchant", "sale", self.merchant.as_str()];
        self.stage.command(&[], &[&command[..], arguments].concat()).await;
    }

    /// Changes the sale mode, and expects that both processes follow in time: this place has this status there.
    async fn switch(&self, arguments: &[&str], place: &str, status: &str) {
        self.set(arguments).await;
        let switched_at = Instant::now();
        join_all(self.storefronts.iter().map(|storefront| until_visited(storefront, place, status))).await;
        assert!(switched_at.elapsed() <= FOLLOWED_WITHIN, "{arguments:?}: {:?}", switched_at.elapsed());
    }

    /// Places taken one after the other, at the processes in turns, before the room opens: each is one further back
    /// than the one before, and so it stands at the other process.
    async fn line_up(&self) -> Vec<String> {
        let (mut places, mut first) = (Vec::new(), None);
        for n in 0..SHOPPERS {
            let [here, there] = [n, n + 1].map(|process| &self.storefronts[process % 2]);
            let taken = visit(here, &[]).await;
            let ahead = taken["ahead"].as_u64().unwrap_or_else(|| panic!("does not wait: {taken}"));
            let first = *first.get_or_insert(ahead);
            assert_eq!(usize::try_from(ahead - first).expect("few"), n, "{taken}");
            let place = taken["place"].as_str().expect("a place");
            let again = visit(there, &[("orderworks-place", place)]).await;
            assert_eq!((&again["place"], &again["ahead"]), (&taken["place"], &taken["ahead"]), "{again}");
            places.push(place.to_owned());
        }
        places
    }

    /// Waits until both processes have admitted these places: neither admits one before those that came earlier.
    async fn admitted(&self, places: &[String]) {
        let (began, mut counts) = (Instant::now(), BTreeSet::new());
        while counts.last() != Some(&[SHOPPERS; 2]) {
            assert!(began.elapsed() < PATIENCE, "admitted so far: {counts:?}");
            let [one, other] = &self.storefronts;
            counts.insert([admitted_at(one, places).await, admitted_at(other, places).await]);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let some = |count: &usize| (1..SHOPPERS).contains(count);
        assert!(counts.iter().flatten().any(some), "all of them at once: {counts:?}");
    }

    /// Orders at one of the processes with this place.
    async fn order(&self, process: usize, key: &str, place: &str, body: &Value) -> (StatusCode, Value) {
        let headers = [("idempotency-key", key), ("orderworks-place", place)];
        self.storefronts[process].send_with(Method::POST, "/v1/orders", &headers, Some(body)).await
    }
}

/// How many of the places are admitted, which are the first ones.
async fn admitted_at(storefront: &Client, places: &[String]) -> usize {
    let mut admitted = Vec::new();
    // From the last one on: more are admitted meanwhile.
    for place in places.iter().rev() {
        admitted.push(visit(storefront, &[("orderworks-place", place)]).await["status"] == "admitted");
    }
    assert!(admitted.is_sorted(), "out of turn, the last one first: {admitted:?}");
    admitted.iter().filter(|is_admitted| **is_admitted).count()
}

/// A whole sale: shoppers come, the room opens, they order in turn, the sale ends.
async fn a_sale_is_one_at_both(sale: &Sale<'_>, body: &Value) {
    let opens_at = later(Ambient::system().now(), Duration::from_hours(1)).to_string();
    // Each process gives out a place once it follows.
    let gather = ["on", "--per-minute", PER_MINUTE, "--opens-at", &opens_at];
    sale.switch(&gather, "none", "waiting").await;
    let places = sale.line_up().await;
    for process in [0, 1] {
        let (status, problem) = sale.order(process, "early", &places[0], body).await;
        assert_eq!((status, &problem["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("waiting_room")));
    }
    sale.set(&["on"]).await;
    sale.admitted(&places).await;
    // At the process where the place was not taken.
    for (n, process) in [(0, 1), (1, 0)] {
        let (status, placed) = sale.order(process, &format!("in-turn-{n}"), &places[n], body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{placed}");
    }
    sale.switch(&["off"], &places[0], "open").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_api_processes_share_a_waiting_room_and_tell_estimates_that_hold() {
    let _alone = alone().await;
    let Some(stage) = TestServers::open().await else { return };
    let (first, base) = stage.api(&[]).await;
    let (second, second_base) = stage.api(&[]).await;
    let (relay, worker) = (stage.role(&["relay"]), stage.role(&["worker", "--queues", SLOTS]));
    let shop = TestMerchant::open(&stage, &base, &["CUP"], 10_000).await;
    let body = shop.order("CUP", 1, "pm_card_visa");
    let sale = Sale::of(&shop, &stage, [&base, &second_base]).await;
    a_sale_is_one_at_both(&sale, &body).await;

    let clients = [shop.client.clone(), shop.client.at(&second_base)];
    for (n, client) in clients.iter().enumerate() {
        until_told(client, &body, &format!("first-{n}")).await;
    }
    nine_of_ten_are_on_time(&clients, &body, LOAD).await;
    for role in [worker, relay, first, second] {
        role.stop().await;
    }
    stage.close().await;
}
