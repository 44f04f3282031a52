//! Admission by backlog of real processes: refusals while no worker takes payments, estimates that hold, and waiting
//! rooms that outlast a kill, each of them with the servers as well.

mod estimates;
mod servers;
mod waiting_rooms;

pub(crate) use waiting_rooms::{merchant_of, until_visited, visit};

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;

use crate::util::{Client, Dev, PATIENCE, TestMerchant, TestServers, alone, order, run_json};

/// More orders than may be stuck.
const WAITING: usize = 14;
/// Age from which on new orders are refused in these tests.
const AGE: [(&str, &str); 2] =
    [("ORDERWORKS_ADMISSION_ORDER_AGE_SECONDS", "2"), ("ORDERWORKS_ADMISSION_CART_AGE_SECONDS", "600")];

/// Sends new orders until one is answered with this status; returns that answer.
async fn until_answered(client: &Client, body: &Value, name: &str, status: StatusCode) -> reqwest::Response {
    let began = Instant::now();
    for n in 0.. {
        let answer = client.place_whole(&format!("{name}-{n}"), body).await.expect("answers");
        if answer.status() == status {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{name}: {}", answer.status());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    unreachable!("the numbers do not end")
}

fn id_of(order: &Value) -> &str {
    order["id"].as_str().expect("an id")
}

fn retry_after(answer: &reqwest::Response) -> u64 {
    let value = answer.headers().get("retry-after").expect("is told").to_str().expect("text");
    value.parse().expect("seconds")
}

async fn refused(client: &Client, body: &Value) {
    let answer = until_answered(client, body, "new", StatusCode::SERVICE_UNAVAILABLE).await;
    assert!((5..=300).contains(&retry_after(&answer)));
    let problem: Value = answer.json().await.expect("JSON");
    assert_eq!(problem["code"], "reduced_capacity", "{problem}");
    let kind = problem["type"].as_str().expect("a type");
    assert!(kind.ends_with("#temporary-reduced-capacity"), "{kind}");
}

#[tokio::test]
async fn orders_are_refused_while_payments_stand_still_and_accepted_again() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start_with(data.path(), &AGE).await;
    let (merchant, body) = (dev.merchant(), order("CUP-ENAMEL", 1, "pm_card_visa"));
    run_json(data.path(), &["control", "pause", "payments"]).await;
    let mut waiting = Vec::new();
    for n in 0..WAITING {
        waiting.push(merchant.accepted(&format!("waits-{n}"), "pm_card_visa").await);
    }
    refused(&merchant, &body).await;
    let (status, again) = merchant.place("waits-0", &body).await.expect("answers");
    assert_eq!((status, again["id"].as_str()), (StatusCode::ACCEPTED, Some(waiting[0].as_str())));
    run_json(data.path(), &["control", "resume", "payments"]).await;
    for id in &waiting {
        assert_eq!(merchant.ended(id).await["status"], "fulfilled");
    }
    until_answered(&merchant, &body, "drained", StatusCode::ACCEPTED).await;
    assert!(dev.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_api_processes_refuse_alike_while_no_worker_runs() {
    let _alone = alone().await;
    let Some(mut stage) = TestServers::open().await else { return };
    for (key, value) in AGE {
        stage.set(key.trim_start_matches("ORDERWORKS_"), value);
    }
    let (first, base) = stage.api(&[]).await;
    let (second, second_base) = stage.api(&[]).await;
    let relay = stage.role(&["relay"]);
    let shop = TestMerchant::open(&stage, &base, &["CUP"], 10_000).await;
    let body = shop.order("CUP", 1, "pm_card_visa");
    let clients = [shop.client.clone(), shop.client.at(&second_base)];
    let mut waiting = Vec::new();
    for n in 0..WAITING {
        let (status, order) = clients[n % 2].place(&format!("waits-{n}"), &body).await.expect("answers");
        assert_eq!(status, StatusCode::ACCEPTED, "{order}");
        waiting.push(id_of(&order).to_owned());
    }
    for client in &clients {
        refused(client, &body).await;
    }
    let worker = stage.role(&["worker"]);
    for id in &waiting {
        assert_eq!(clients[0].ended(id).await["status"], "fulfilled");
    }
    for (n, client) in clients.iter().enumerate() {
        until_answered(client, &body, &format!("drained-{n}"), StatusCode::ACCEPTED).await;
    }
    for role in [worker, relay, first, second] {
        role.stop().await;
    }
    stage.close().await;
}
