//! Stripe provider against stand-ins of third parties: `localstripe` keeps charges ([`flows`], [`reports`]),
//! `stripe-mock` checks requests ([`shapes`]); against a server with the answers that Stripe documents ([`answers`]);
//! and against one with the states that it documents, and a clock of its own ([`states`], [`fences`], [`by_hand`]).

mod answers;
mod by_hand;
mod fences;
mod flows;
mod reports;
mod shapes;
mod states;

use std::{sync::Arc, time::Duration};

use base::Ambient;
use serde_json::Value;
use store::domain::{OrderId, PaymentId};
use workers::{
    Env,
    provider::{ClientConfig, stripe::StripeProvider},
};

use crate::util::{Front, TestMerchant};

const KEY: &str = "sk_test_4eC39HqLyjWDarjtT1zdp7dc";

/// URL of a stand-in from this variable, or `None` with the reason printed.
#[expect(clippy::print_stderr, reason = "for who reads the test run")]
fn stand_in(variable: &str, remedy: &str) -> Option<String> {
    let url = std::env::var(variable).ok();
    if url.is_none() {
        eprintln!("skipped: {variable} is not set; {remedy}");
    }
    url
}

fn client(front: &Front, timeout: Duration, ambient: Ambient) -> StripeProvider {
    client_of(&front.url, timeout, ambient)
}

pub(crate) fn client_of(url: &str, timeout: Duration, ambient: Ambient) -> StripeProvider {
    let config = ClientConfig { url: url.parse().expect("a URL"), key: KEY.into(), timeout };
    StripeProvider::new(config, ambient).expect("a client")
}

/// A shop with `localstripe` behind a proxy as its provider.
struct Till {
    shop: TestMerchant,
    front: Front,
}

impl Till {
    async fn open() -> Option<Self> {
        Self::open_with(Ambient::system()).await
    }

    async fn open_with(ambient: Ambient) -> Option<Self> {
        let url = stand_in("ORDERWORKS_TEST_STRIPE_URL", "see `ops/services up stripe`")?;
        Some(Self { shop: TestMerchant::open_with(ambient).await, front: Front::of_stripe(&url).await })
    }

    fn provider(&self) -> StripeProvider {
        client(&self.front, Duration::from_secs(5), self.shop.ambient.clone())
    }

    fn env(&self) -> Env {
        self.env_waiting(Duration::from_secs(5))
    }

    fn env_waiting(&self, timeout: Duration) -> Env {
        let provider = client(&self.front, timeout, self.shop.ambient.clone());
        self.shop.env_with(Arc::clone(&self.shop.payments), Arc::new(provider))
    }

    /// A request to Stripe that does not come from the shop.
    async fn ask(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Value {
        let url = std::env::var("ORDERWORKS_TEST_STRIPE_URL").expect("set, see `open`");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request =
            http.request(method.parse().expect("a method"), format!("{url}{path}")).bearer_auth(KEY);
        let request = if form.is_empty() {
            request
        } else {
            request.header("content-type", "application/x-www-form-urlencoded").body(body)
        };
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    /// The payment intents that Stripe has for an order.
    async fn intents(&self, order: OrderId) -> Vec<Value> {
        let payment = PaymentId::of_order(order).to_string();
        let all = self.ask("GET", "/v1/payment_intents?limit=1000000", &[]).await;
        let all = all["data"].as_array().expect("a list").clone();
        all.into_iter().filter(|intent| intent["metadata"]["payment_id"] == *payment).collect()
    }

    async fn refunds(&self, intent: &str) -> Vec<Value> {
        let all = self.ask("GET", &format!("/v1/refunds?limit=1000&payment_intent={intent}"), &[]).await;
        all["data"].as_array().expect("a list").clone()
    }
}
