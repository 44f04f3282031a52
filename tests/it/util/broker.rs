//! The real RabbitMQ server, with a virtual host per test.

use std::time::Duration;

use base::Ambient;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::client::http_builder;

/// A user without a tag, and its password: it may use the virtual hosts of tests and nothing else on the server.
const USER: &str = "ow-test-user";

/// A virtual host of one test, deleted at its end.
pub(crate) struct Vhost {
    url: String,
    name: String,
    management: reqwest::Url,
    http: reqwest::Client,
}

/// The reason why tests with the broker cannot run here.
pub(crate) fn missing() -> Option<&'static str> {
    let set = std::env::var_os("ORDERWORKS_TEST_RABBITMQ_URL").is_some();
    (!set).then_some(
        "ORDERWORKS_TEST_RABBITMQ_URL is not set: `ops/services up rabbitmq` and `. .services/env`",
    )
}

impl Vhost {
    pub(crate) async fn create() -> Self {
        let variable =
            |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by ops/services"));
        let url = variable("ORDERWORKS_TEST_RABBITMQ_URL");
        let (_, place) = url.split_once('@').expect("an address with a user");
        let (server, _) = place.rsplit_once('/').expect("an address with a virtual host");
        let ambient = Ambient::system();
        // The same form of name as in the engine's own tests, whose cleanup removes leftovers of crashed runs of both.
        let name = format!("ow-test-{}-{}", ambient.now().as_millisecond(), ambient.uuid().simple());
        let vhost = Self {
            url: format!("amqp://{USER}:{USER}@{server}/{name}"),
            name,
            management: variable("ORDERWORKS_TEST_RABBITMQ_MANAGEMENT_URL").parse().expect("a URL"),
            http: http_builder().timeout(Duration::from_secs(20)).build().expect("builds"),
        };
        vhost.call(Method::PUT, &format!("/api/vhosts/{}", vhost.name), &json!({})).await;
        let user = json!({ "password": USER, "tags": "" });
        vhost.call(Method::PUT, &format!("/api/users/{USER}"), &user).await;
        let all = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        vhost.call(Method::PUT, &format!("/api/permissions/{}/{USER}", vhost.name), &all).await;
        vhost
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The address with another password.
    pub(crate) fn url_with_password(&self, password: &str) -> String {
        let mut url: reqwest::Url = self.url.parse().expect("a URL");
        url.set_password(Some(password)).expect("has an authority");
        url.into()
    }

    /// Asks the management API about an object, such as `queues/{}/name`, where `{}` stands for this virtual host.
    /// Returns status and body, the latter null unless it is JSON; `None` without a whole answer.
    pub(crate) async fn ask(&self, method: Method, path: &str) -> Option<(StatusCode, Value)> {
        let path = format!("/api/{}", path.replace("{}", &self.name));
        let url = self.management.join(&path).expect("a path");
        let answer = self.http.request(method, url).send().await.ok()?;
        let status = answer.status();
        let body = answer.bytes().await.ok()?;
        Some((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// Fails no test: what is left is deleted by a later run.
    #[expect(clippy::print_stderr, reason = "for the reader of the test run")]
    pub(crate) async fn delete(self) {
        let url = self.management.join(&format!("/api/vhosts/{}", self.name)).expect("a path");
        if let Err(error) = self.http.delete(url).send().await {
            eprintln!("virtual host {} is left to a later run: {error}", self.name);
        }
    }

    async fn call(&self, method: Method, path: &str, body: &Value) {
        let url = self.management.join(path).expect("a path");
        let request = self.http.request(method, url).json(body).send();
        let status = request.await.expect("the management API answers").status();
        assert!(status.is_success(), "{path}: {status}");
    }
}
