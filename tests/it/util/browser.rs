//! Chromium without a window, driven by `chromedriver` through the `WebDriver` protocol (W3C).
//!
//! Guarantees: an empty profile in a temporary folder, real key presses, and an end together with its value. The
//! protocol is JSON over HTTP, so the few commands that tests need are here, and no crate of a driver.

use std::{collections::BTreeSet, path::PathBuf, process::Stdio, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};
use url::Url;

use super::{PATIENCE, free_port, http};

/// Environment variables: the programs, set by `ops/test`, and a folder where screenshots are kept.
const DRIVER: &str = "ORDERWORKS_TEST_CHROMEDRIVER";
const AXE: &str = "ORDERWORKS_TEST_AXE";
const IMAGES: &str = "ORDERWORKS_TEST_IMAGES";

/// Options of the browser; it sends requests to the addresses that it is led to only.
const OPTIONS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// Most key presses until an element has the focus.
const TABS_MAX: usize = 200;

/// Keys of the `WebDriver` protocol.
const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// Whether the present page is still the one on which this was run first.
const MARK: &str = "return window.marked || !(window.marked = true)";

/// A browser with one session.
pub(crate) struct Browser {
    _driver: Child,
    http: reqwest::Client,
    /// URL of the session.
    session: String,
    /// The browser itself, which is no child of the driver for signals.
    process: u64,
    folder: TempDir,
    /// Source of axe-core.
    axe: String,
}

impl Browser {
    /// Starts a browser; `None`, with the reason printed, where there is no program for it.
    pub(crate) async fn open() -> Option<Self> {
        let set = |name| std::env::var(name).ok();
        let (Some(program), Some(axe)) = (set(DRIVER), set(AXE)) else {
            let install = "see `ops/services install chromium chromium-driver axe-core`";
            base::testing::skip(&format!("{DRIVER} or {AXE} is not set; {install}"));
            return None;
        };
        let axe = std::fs::read_to_string(axe).expect("axe-core");
        let (folder, http, port) = (tempfile::tempdir().expect("a folder"), http(), free_port());
        let mut driver = Command::new(program);
        driver.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let driver = driver.spawn().expect("runs chromedriver");
        let base = format!("http://127.0.0.1:{port}");
        until_ready(&http, &base).await;
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        let options: Vec<&str> = OPTIONS.into_iter().chain([profile.as_str()]).collect();
        let wanted = json!({
            "browserName": "chrome",
            "goog:loggingPrefs": { "performance": "ALL" },
            "goog:chromeOptions": { "args": options },
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": wanted } });
        let opened =
            command(&http, Method::POST, &format!("{base}/session"), Some(&wanted)).await.expect("opens");
        let id = opened["sessionId"].as_str().expect("a session");
        let process = opened["capabilities"]["goog:processID"].as_u64().expect("a process");
        let session = format!("{base}/session/{id}");
        Some(Self { _driver: driver, http, session, process, folder, axe })
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.try_post(path, &body).await.expect("is done")
    }

    async fn try_post(&self, path: &str, body: &Value) -> Result<Value, String> {
        command(&self.http, Method::POST, &format!("{}{path}", self.session), Some(body)).await
    }

    async fn get(&self, path: &str) -> Value {
        command(&self.http, Method::GET, &format!("{}{path}", self.session), None).await.expect("is told")
    }

    /// Loads a page.
    pub(crate) async fn visit(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// The address of the present page.
    pub(crate) async fn address(&self) -> Url {
        self.get("/url").await.as_str().expect("text").parse().expect("a URL")
    }

    /// Runs a function body with these arguments in the page, also where pages may run no script; returns its value.
    pub(crate) async fn run(&self, script: &str, arguments: Value) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": arguments })).await
    }

    /// The value of [`Browser::run`] as text; empty where it is none.
    pub(crate) async fn text(&self, script: &str, arguments: Value) -> String {
        self.run(script, arguments).await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the function body returns `true`. `what` is for the failure.
    pub(crate) async fn until(&self, what: &str, script: &str, arguments: Value) {
        let deadline = Instant::now() + PATIENCE;
        let asked = json!({ "script": script, "args": arguments });
        // A question fails where the page goes away under it.
        while self.try_post("/execute/sync", &asked).await != Ok(Value::Bool(true)) {
            if Instant::now() > deadline {
                let shown = self.text("return document.body.innerText", json!([])).await;
                panic!("not {what} at {}: {shown}", self.address().await);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the page shows this text.
    pub(crate) async fn until_shown(&self, text: &str) {
        self.until(text, "return document.body.innerText.includes(arguments[0])", json!([text])).await;
    }

    /// Presses the keys of a text one after the other.
    pub(crate) async fn press(&self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| {
            let key = key.to_string();
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
        });
        let strokes: Vec<Value> = strokes.collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": strokes });
        self.post("/actions", json!({ "actions": [keyboard] })).await;
    }

    /// Presses Tab.
    pub(crate) async fn tab(&self) {
        self.press(TAB).await;
    }

    /// Presses Enter.
    pub(crate) async fn enter(&self) {
        self.press(ENTER).await;
    }

    /// Presses Tab until an element that fits the selector, with this text where it has one, has the focus.
    pub(crate) async fn tab_to(&self, selector: &str, text: &str) {
        let script = "const e = document.activeElement;
            return e.matches(arguments[0]) && (arguments[1] === '' || e.textContent.trim() === arguments[1])";
        for _ in 0..TABS_MAX {
            self.tab().await;
            if self.run(script, json!([selector, text])).await == true {
                return;
            }
        }
        panic!("the keyboard does not reach `{selector}` {text} at {}", self.address().await);
    }

    /// Presses Tab until such an element has the focus, then Enter, and waits for the page that follows.
    pub(crate) async fn follow(&self, selector: &str, text: &str) {
        self.tab_to(selector, text).await;
        self.submit().await;
    }

    /// Presses Enter and waits for the page that follows.
    pub(crate) async fn submit(&self) {
        self.run(MARK, json!([])).await;
        self.enter().await;
        let next = "return !window.marked && document.readyState === 'complete'";
        self.until("the next page", next, json!([])).await;
    }

    /// Marks the page; returns whether it was marked before and has not been loaded since.
    pub(crate) async fn mark(&self) -> bool {
        self.run(MARK, json!([])).await == true
    }

    /// Clicks an element with the mouse, as a person without script can, too.
    pub(crate) async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/click"), json!({})).await;
    }

    /// Types into an element.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    async fn element(&self, selector: &str) -> String {
        let found = self.post("/element", json!({ "using": "css selector", "value": selector })).await;
        let mut ids = found.as_object().expect("an element").values();
        ids.next().and_then(Value::as_str).expect("an id").to_owned()
    }

    /// Sends a command of the `DevTools` protocol.
    pub(crate) async fn devtools(&self, name: &str, parameters: Value) {
        self.post("/goog/cdp/execute", json!({ "cmd": name, "params": parameters })).await;
    }

    /// Shows pages this wide, in this theme.
    pub(crate) async fn show_as(&self, width: u32, theme: &str) {
        let is_phone = width < 600;
        let size = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": is_phone });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let feature = json!({ "name": "prefers-color-scheme", "value": theme });
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": [feature] })).await;
    }

    /// Opens another tab and goes to it; returns the handles of the former and of the new one.
    pub(crate) async fn open_tab(&self) -> [Value; 2] {
        let former = self.get("/window").await;
        let opened = self.post("/window/new", json!({ "type": "tab" })).await["handle"].clone();
        self.go_to_tab(&opened).await;
        [former, opened]
    }

    pub(crate) async fn go_to_tab(&self, handle: &Value) {
        self.post("/window", json!({ "handle": handle })).await;
    }

    /// Serious and critical violations that axe-core finds on the present page, one a line.
    pub(crate) async fn violations(&self) -> String {
        if self.run("return !window.axe", json!([])).await == true {
            self.run(&self.axe, json!([])).await;
        }
        let script = "const done = arguments[0];
            axe.run(document, { resultTypes: ['violations'] }).then((found) => done(found.violations
                .filter((its) => ['serious', 'critical'].includes(its.impact))
                .map((its) => `${its.id}: ${its.nodes.map((node) => node.html).join(' ')}`).join('\\n')),
                (error) => done(`axe: ${error}`))";
        let found = self.post("/execute/async", json!({ "script": script, "args": [] })).await;
        found.as_str().expect("text").to_owned()
    }

    /// Keeps a picture of the page in the temporary folder, or in the one of `ORDERWORKS_TEST_IMAGES`.
    pub(crate) async fn picture(&self, name: &str) {
        let picture = self.get("/screenshot").await;
        let picture = STANDARD.decode(picture.as_str().expect("text")).expect("base64");
        let folder = std::env::var_os(IMAGES).map_or_else(|| self.folder.path().to_owned(), PathBuf::from);
        std::fs::write(folder.join(format!("{name}.png")), picture).expect("writes");
    }

    /// Hosts and ports that pages have asked for anything, since the last time that this was asked.
    pub(crate) async fn hosts(&self) -> BTreeSet<String> {
        let log = self.post("/se/log", json!({ "type": "performance" })).await;
        let lines = log.as_array().expect("a list").iter().filter_map(|entry| entry["message"].as_str());
        let sent = lines.filter_map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let message = &line["message"];
            let is_request = message["method"] == "Network.requestWillBeSent";
            let url = is_request.then(|| message["params"]["request"]["url"].as_str())??;
            Url::parse(url).ok()
        });
        // The empty tab is a page of the browser itself, and `data:` sends no request.
        let outside = sent.filter(|url| !matches!(url.scheme(), "chrome" | "data"));
        outside.map(|url| url[url::Position::BeforeHost..url::Position::AfterPort].to_owned()).collect()
    }

    /// Ends session and browser.
    pub(crate) async fn close(self) {
        command(&self.http, Method::DELETE, &self.session, None).await.expect("ends");
    }
}

impl Drop for Browser {
    /// Also where a test fails: the browser would outlive its driver.
    fn drop(&mut self) {
        let kill = std::process::Command::new("kill")
            .args(["-KILL", &self.process.to_string()])
            .stderr(Stdio::null())
            .status();
        drop(kill);
    }
}

async fn until_ready(http: &reqwest::Client, base: &str) {
    let deadline = Instant::now() + PATIENCE;
    while http.get(format!("{base}/status")).send().await.is_err() {
        assert!(Instant::now() < deadline, "chromedriver does not start");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Sends a command; returns its value, or the reason why it cannot be done.
async fn command(
    http: &reqwest::Client,
    method: Method,
    url: &str,
    body: Option<&Value>,
) -> Result<Value, String> {
    let mut request = http.request(method, url).timeout(PATIENCE);
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.expect("chromedriver answers");
    let status = answer.status();
    let mut answer: Value = answer.json().await.expect("JSON");
    let value = answer["value"].take();
    if status.is_success() {
        Ok(value)
    } else {
        Err(format!("{url}: {}: {}", value["error"], value["message"]))
    }
}
