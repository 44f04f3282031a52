//! Final checks of a fault run, from the API, the provider's ledger and `orderworks verify`.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write,
    sync::atomic::Ordering,
    time::Duration,
};

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    deployment::{Deployment, RARE, RARE_STOCK},
    traffic::Traffic,
};
use crate::util::{Client, audit};

/// Longest time from the last fault to the end of every order.
const ENDED_WITHIN: Duration = Duration::from_mins(1);
/// Arguments of the audit that records refunds made by hand.
const REPAIR: [&str; 4] = ["--full", "--grace", "0s", "--repair"];
/// Longest time from then to the last mail and the last webhook.
const QUIET_WITHIN: Duration = Duration::from_mins(5);

/// Figures of the run; most of them must be zero.
pub(super) struct FaultReport {
    pub(super) accepted: usize,
    pub(super) sold_out: usize,
    /// Accepted orders that do not exist.
    pub(super) lost: usize,
    /// Keys with two orders, orders that were charged twice, and refunds made by hand that were made again.
    pub(super) doubled: usize,
    /// Units sold beyond the stock.
    pub(super) oversold: i64,
    /// Orders that were not final a minute after the last fault.
    pub(super) open: usize,
    /// Time from the last fault to the end of the last order, if all ended in time.
    pub(super) ended_after: Option<Duration>,
    /// Violations that the audit still finds after minutes without traffic.
    pub(super) violations: Vec<Value>,
    /// Summary of the audit.
    pub(super) audited: Value,
}

impl FaultReport {
    /// Collects the figures from all stores; `ended` is the result of [`until_ended`].
    pub(super) async fn of(town: &Deployment, traffic: &Traffic, ended: Result<Duration, usize>) -> Self {
        let accepted = traffic.accepted();
        let mut of_shop = Vec::new();
        for client in clients(town) {
            of_shop.push(client.all("/v1/orders").await);
        }
        let orders: Vec<_> = of_shop.iter().flatten().collect();
        let known: BTreeSet<&str> = accepted.values().map(String::as_str).collect();
        let there: BTreeSet<&str> = orders.iter().filter_map(|order| order["id"].as_str()).collect();
        let unasked = there.difference(&known).count();
        let (violations, audited) = audited(town).await;
        // After the audit, whose repair must refund nothing.
        let ledger = audit::ledger(&town.ledger).await;
        let moved_again = charged_again(&ledger) + refunded_again(&ledger, &traffic.by_hand());
        Self {
            accepted: accepted.len(),
            sold_out: traffic.sold_out.load(Ordering::Relaxed),
            lost: known.difference(&there).count(),
            doubled: unasked + moved_again + traffic.answered_twice.load(Ordering::Relaxed),
            oversold: of_shop.iter().map(|orders| oversold(orders)).sum(),
            open: ended.err().unwrap_or_default(),
            ended_after: ended.ok(),
            violations,
            audited,
        }
    }

    pub(super) fn is_clean(&self) -> bool {
        (self.lost, self.doubled, self.oversold, self.open) == (0, 0, 0, 0) && self.violations.is_empty()
    }

    /// The findings besides the last line.
    pub(super) fn describe(&self) -> String {
        let mut text = match self.ended_after {
            Some(after) => {
                format!("Every order had ended {:.1} s after the last fault.", after.as_secs_f64())
            }
            None => format!("{} orders were open a minute after the last fault.", self.open),
        };
        let Self { sold_out, audited, violations, .. } = self;
        let number = |key: &str| audited[key].as_u64().unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            " {sold_out} more were refused, as there was no stock for them. `orderworks verify --full` over {} orders, {} \
             payments and {} entries of the provider's ledger found {}.",
            number("orders"),
            number("payments"),
            number("ledger"),
            if violations.is_empty() {
                "nothing wrong".to_owned()
            } else {
                format!("{} violations", violations.len())
            },
        );
        for violation in violations {
            let _ = write!(text, "\n    {violation}");
        }
        text
    }

    pub(super) fn line(&self, faults: usize) -> String {
        let Self { accepted, lost, doubled, oversold, open, .. } = self;
        format!(
            "faults={faults} accepted={accepted} lost={lost} doubled={doubled} oversold={oversold} open={open}"
        )
    }
}

/// Time from the last fault until every order had ended, or the number of open orders at the time limit.
pub(super) async fn until_ended(town: &Deployment, last_fault: Instant) -> Result<Duration, usize> {
    let clients: Vec<_> = clients(town).collect();
    loop {
        if all_ended(&clients).await {
            return Ok(last_fault.elapsed());
        }
        if last_fault.elapsed() >= ENDED_WITHIN {
            let mut open = Vec::new();
            for client in &clients {
                for status in ["pending", "paid"] {
                    open.extend(client.all_where("/v1/orders", &format!("&status={status}")).await);
                }
            }
            println!("open: {open:#?}");
            return if open.is_empty() { Ok(last_fault.elapsed()) } else { Err(open.len()) };
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// False also when an API that has not recovered yet does not answer.
async fn all_ended(clients: &[Client]) -> bool {
    for client in clients {
        for status in ["pending", "paid"] {
            let page = client.try_get(&format!("/v1/orders?limit=1&status={status}")).await;
            if !page.is_some_and(|page| page["data"].as_array().is_some_and(Vec::is_empty)) {
                return false;
            }
        }
    }
    true
}

fn clients(town: &Deployment) -> impl Iterator<Item = Client> {
    (0..town.shops.len()).map(|shop| town.client(shop, shop))
}

fn charged_again(ledger: &[Value]) -> usize {
    let mut charges: HashMap<&str, usize> = HashMap::new();
    for entry in ledger.iter().filter(|entry| entry["type"] == "charge") {
        *charges.entry(entry["order_id"].as_str().expect("named by our requests")).or_default() += 1;
    }
    charges.values().filter(|count| **count > 1).count()
}

/// Orders whose only refund was made by hand, and that have another one.
fn refunded_again(ledger: &[Value], by_hand: &BTreeSet<String>) -> usize {
    let mut refunds: HashMap<&str, usize> = HashMap::new();
    let orders = ledger.iter().filter(|entry| entry["type"] == "refund");
    let orders = orders.filter_map(|entry| entry["order_id"].as_str());
    for order in orders.filter(|order| by_hand.contains(*order)) {
        *refunds.entry(order).or_default() += 1;
    }
    refunds.values().filter(|count| **count > 1).count()
}

/// Oversold units of the product that sells out.
fn oversold(orders: &[Value]) -> i64 {
    let left_the_house = orders.iter().filter(|order| !order["shipment"].is_null());
    let items = left_the_house.flat_map(|order| order["items"].as_array().expect("a list"));
    let sold: i64 = items
        .filter(|item| item["sku"] == RARE)
        .map(|item| item["quantity"].as_i64().expect("a number"))
        .sum();
    (sold - RARE_STOCK).max(0)
}

/// Audits until there is no violation: mails and webhooks take their time, and recovered stores have writes to catch up
/// with. Refunds made by hand that no webhook reported are recorded by a repair; nothing else is repaired.
async fn audited(town: &Deployment) -> (Vec<Value>, Value) {
    let began = Instant::now();
    let deadline = began + QUIET_WITHIN;
    loop {
        let (status, violations, summary) = town.stage.verify(&audit::FULL).await;
        let seconds = began.elapsed().as_secs();
        println!("{seconds} s after the drain the audit found {} violations: {summary}", violations.len());
        match status {
            Some(0) => return (Vec::new(), summary),
            Some(1) if Instant::now() >= deadline => return (violations, summary),
            Some(1) => {
                let by_hand = |violation: &Value| violation["code"] == "ledger_refund_unexpected";
                if town.stripe.is_some() && violations.iter().all(by_hand) {
                    let (status, repaired, summary) = town.stage.verify(&REPAIR).await;
                    println!("repaired {} of them, status {status:?}: {summary}", repaired.len());
                }
                sleep(Duration::from_secs(2)).await;
            }
            _ => panic!("cannot look: {summary}"),
        }
    }
}
