//! The console in a browser, as an operator uses it: by keyboard from the printed link to a fulfilled order, a queue
//! that is paused and resumed, hidden tabs, and pages without script.

use std::collections::BTreeSet;

use serde_json::json;

use super::base;
use crate::util::{Browser, Dev, alone};

/// Text of a cell of the first table: queue, heading of the column.
const CELL: &str = "const [queue, heading] = arguments;
    const table = document.querySelector('main table');
    const place = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === heading);
    const row = [...table.tBodies[0].rows].find((row) => row.cells[0].textContent.trim() === queue);
    const shown = row ? row.cells[place].textContent.trim() : '-';";
/// Whether a row tells of a completed attempt of a kind, and leads to the order: id of the order, kind of the job.
const PASSED: &str = "const [order, kind] = arguments;
    return [...document.querySelectorAll('main tbody tr')].some((row) =>
        row.querySelector(`a[href='/orders/${order}']`)
        && row.textContent.includes(kind) && row.textContent.includes('completed'))";
/// Notes the times at which the tab is hidden or shown.
const WATCH: &str = "window.changes = [];
    document.addEventListener('visibilitychange', (event) => changes.push(event.timeStamp));";
/// Requests of the script of a live page.
const FETCHES: &str = "const fetches = performance.getEntriesByType('resource')
    .filter((entry) => entry.initiatorType === 'fetch');";

impl Browser {
    /// Waits until a queue has a figure in this column.
    pub(super) async fn until_figure(&self, queue: &str, heading: &str) {
        let script = format!("{CELL} return shown !== '-' && shown !== '';");
        self.until(&format!("{heading} of {queue}"), &script, json!([queue, heading])).await;
    }

    /// Waits until the first list of facts of a queue's page shows this state.
    async fn until_state(&self, state: &str) {
        let script = "return [...document.querySelectorAll('dl div')].some((fact) =>
            fact.firstElementChild.textContent === 'State'
            && fact.lastElementChild.textContent.trim() === arguments[0])";
        self.until(state, script, json!([state])).await;
    }
}

/// No page has sent a request to another host than the console.
async fn asked_no_other_host(browser: &Browser, dev: &Dev) {
    let own = base(dev).trim_start_matches("http://").to_owned();
    assert_eq!(browser.hosts().await, BTreeSet::from([own]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_followed_from_the_printed_link_by_keyboard() {
    let _alone = alone().await;
    let Some(browser) = Browser::open().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    browser.visit(&dev.ready.console_url).await;
    assert_eq!((browser.address().await.path(), browser.address().await.query()), ("/", Some("live=on")));

    // The first stop is the link over the navigation, and it can be seen.
    browser.tab().await;
    let seen = "const shown = document.activeElement, style = getComputedStyle(shown);
        const { left, top } = shown.getBoundingClientRect();
        return left >= 0 && top >= 0 && style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2
            && shown.textContent.includes('Skip')";
    browser.until("a link that skips the navigation", seen, json!([])).await;
    browser.enter().await;
    browser.until("in the content", "return document.activeElement.id === 'main'", json!([])).await;

    // One order passes on the overview while it is open: it is not loaded again.
    browser.mark().await;
    let id = dev.storefront().accepted("followed", "pm_card_visa").await;
    for job in ["charge_payment", "fulfil_order", "send_email"] {
        browser.until(job, PASSED, json!([id, job])).await;
    }
    for queue in ["payments", "fulfilment", "email"] {
        browser.until_figure(queue, "Completed / failed per min").await;
    }
    browser.until_figure("payments", "Wait p95").await;
    let desired = format!("{CELL} return shown.includes('/')");
    browser.until("desired workers", &desired, json!(["payments", "Consumers / desired"])).await;
    browser.until_figure("payments", "Ready, last hour").await;
    assert!(browser.mark().await, "the overview was loaded again");
    let focus = browser.text("return document.activeElement.id", json!([])).await;
    assert_eq!(focus, "main", "the focus stays where it was");

    browser.tab_to("input[name=q]", "").await;
    browser.press(&id).await;
    browser.submit().await;
    assert_eq!(browser.address().await.path(), format!("/orders/{id}"));
    browser.follow("main a", "Renew every 5 s").await;
    browser.until_shown("order.fulfilled").await;
    asked_no_other_host(&browser, &dev).await;
    browser.close().await;
    assert!(dev.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_paused_and_resumed_by_keyboard() {
    let _alone = alone().await;
    let Some(browser) = Browser::open().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    browser.visit(&dev.ready.console_url).await;
    browser.follow("nav a", "Queues").await;
    browser.follow("td a", "email").await;
    assert_eq!(browser.address().await.path(), "/queues/email");
    for (state, why) in [("paused", "the mail server moves"), ("consumed", "it has moved")] {
        browser.tab_to("main input[name=why]", "").await;
        browser.press(why).await;
        browser.submit().await;
        browser.until_shown("Nothing is changed yet").await;
        browser.follow("main button", "Carry it out").await;
        browser.until_shown("1 done, 0 skipped, 0 failed").await;
        browser.visit(&format!("{}/queues/email?live=on", base(&dev))).await;
        browser.until_state(state).await;
    }
    browser.follow("nav a", "Audit").await;
    browser.until_shown("the mail server moves").await;
    asked_no_other_host(&browser, &dev).await;
    browser.close().await;
    assert!(dev.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hidden_tab_asks_for_nothing() {
    let _alone = alone().await;
    let Some(browser) = Browser::open().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    browser.visit(&dev.ready.console_url).await;
    browser.run(WATCH, json!([])).await;
    let renewed = |times: u32| format!("{FETCHES} return fetches.length >= {times}");
    browser.until("renewed", &renewed(1), json!([])).await;
    let [hidden, shown] = browser.open_tab().await;
    browser.visit(&format!("{}/?live=on", base(&dev))).await;
    // As long as the other one would have asked, too.
    browser.until("renewed twice", &renewed(2), json!([])).await;
    browser.go_to_tab(&hidden).await;
    browser.until("shown again", "return changes.length >= 2", json!([])).await;
    browser.until("renewed at once", &renewed(2), json!([])).await;
    let between = format!(
        "{FETCHES} const [from, to] = changes;
        return fetches.filter((entry) => entry.startTime > from && entry.startTime < to).length"
    );
    assert_eq!(browser.run(&between, json!([])).await, 0, "a hidden tab has asked");
    assert_ne!(hidden, shown);
    browser.close().await;
    assert!(dev.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_work_without_script() {
    let _alone = alone().await;
    let Some(browser) = Browser::open().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    browser.visit(&dev.ready.console_url).await;
    browser.until_shown("payments").await;
    browser.mark().await;
    browser.until("loaded again by itself", "return !window.marked", json!([])).await;

    let page = format!("{}/queues/email", base(&dev));
    browser.visit(&page).await;
    browser.fill("main input[name=why]", "a test without script").await;
    browser.click("main form button").await;
    browser.until_shown("Nothing is changed yet").await;
    browser.click("main form button").await;
    browser.until_shown("1 done, 0 skipped, 0 failed").await;
    browser.visit(&format!("{page}?live=on")).await;
    browser.until_state("paused").await;
    browser.close().await;
    assert!(dev.stop().await.success());
}
