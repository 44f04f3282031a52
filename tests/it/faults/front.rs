//! Faulty proxy in front of the provider: passes calls on, or makes them fail, hang or repeat.

use std::time::Duration;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use tokio::sync::watch;

use super::plan::Mood;
use crate::util::http;

const SLOW: Duration = Duration::from_secs(3);

/// A running proxy; ends with the test's runtime.
#[derive(Clone)]
pub(super) struct Front {
    /// With a trailing slash.
    pub(super) url: String,
    mood: watch::Sender<Mood>,
    behind: String,
    http: reqwest::Client,
}

impl Front {
    /// A proxy for the provider at this address, such as `http://127.0.0.1:8092/`.
    pub(super) async fn of(provider: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let http = http();
        let behind = provider.trim_end_matches('/').to_owned();
        let front = Self { url, mood: watch::Sender::new(Mood::Fine), behind, http };
        let app = Router::new().fallback(pass).with_state(front.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        front
    }

    pub(super) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

async fn pass(
    State(front): State<Front>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mood = *front.mood.borrow();
    match mood {
        Mood::Refuses => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Slow => tokio::time::sleep(SLOW).await,
        Mood::Fine | Mood::Mute | Mood::Twice => {}
    }
    let call = async || {
        let request = front.http.request(method.clone(), format!("{}{uri}", front.behind)).body(body.clone());
        let names = ["authorization", "content-type", "idempotency-key"];
        let known = names.iter().filter_map(|name| Some((*name, headers.get(*name)?)));
        let request = known.fold(request, |request, (name, value)| request.header(name, value));
        let answer = request.send().await?;
        // The date tells the provider's clock.
        let names = [http::header::CONTENT_TYPE, http::header::DATE];
        let known = names.into_iter().filter_map(|name| Some((answer.headers().get(&name)?.clone(), name)));
        let headers: HeaderMap = known.map(|(value, name)| (name, value)).collect();
        Ok::<_, reqwest::Error>((answer.status(), headers, answer.bytes().await?))
    };
    if mood == Mood::Twice {
        drop(call().await);
    }
    let answer = call().await;
    if mood == Mood::Mute {
        // Until the caller gives up.
        std::future::pending::<()>().await;
    }
    match answer {
        Ok(answer) => answer.into_response(),
        // Whether the call took effect is unknown here, too.
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
