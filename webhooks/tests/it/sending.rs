//! Sending: headers and signature, refused addresses, redirects, bounds of answers, failure codes.

use std::time::Duration;

use base::{Ambient, TraceContext};
use standardwebhooks::Webhook;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use webhooks::{Answer, Post, SecretError, TOTAL_TIMEOUT, UrlPolicy, WebhookSender};

use crate::receiver::Receiver;

/// `whsec_` and base64 of 32 bytes.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
const BODY: &str = r#"{"type":"order.paid"}"#;
const TAKEN: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

fn sender(allow_loopback: bool) -> WebhookSender {
    WebhookSender::new(UrlPolicy { allow_loopback }, Ambient::system()).expect("a sender")
}

fn post(url: &str) -> Post<'_> {
    let at = Ambient::system().now();
    Post {
        url,
        secrets: vec![SECRET],
        id: "evt_1".to_owned(),
        body: BODY.to_owned(),
        trace: None,
        at,
        timeout: TOTAL_TIMEOUT,
    }
}

async fn answer_to(post: Post<'_>) -> Answer {
    sender(true).post(post).await.expect("a valid secret")
}

#[tokio::test]
async fn post_verifies_with_the_official_library_and_carries_its_trace() {
    let mut receiver = Receiver::start(TAKEN).await;
    let trace = TraceContext::fresh(&Ambient::system()).with_state(["vendor=1"]);
    let answer = answer_to(Post { trace: Some(trace.clone()), ..post(&receiver.url) }).await;
    assert_eq!(answer, Answer::of_status(204, None));
    let received = receiver.received().await;
    let verifier = Webhook::new(SECRET).expect("a secret");
    verifier.verify(&received.body, &received.headers).expect("a valid signature");
    verifier.verify(b"{}", &received.headers).expect_err("the body is signed");
    assert_eq!(received.body, BODY.as_bytes());
    assert_eq!(received.headers["webhook-id"], "evt_1");
    assert_eq!(received.headers["content-type"], "application/json");
    assert_eq!(received.headers["traceparent"], trace.parent());
    assert_eq!(received.headers["tracestate"], "vendor=1");
}

#[tokio::test]
async fn redirect_is_a_failure_and_is_not_followed() {
    let mut elsewhere = Receiver::start(TAKEN).await;
    let location = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {}\r\n\r\n", elsewhere.url);
    let receiver = Receiver::start(location.leak().as_bytes()).await;
    assert_eq!(answer_to(post(&receiver.url)).await, Answer::of_status(307, None));
    assert!(elsewhere.next().is_none());
}

#[tokio::test]
async fn wait_is_read_from_answers_that_throttle_only() {
    for (answer, expected) in [
        (&b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 120\r\n\r\n"[..], Some(120)),
        (b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\n\r\n", Some(7)),
        (b"HTTP/1.1 500 Internal Server Error\r\nretry-after: 7\r\n\r\n", None),
        (b"HTTP/1.1 429 Too Many Requests\r\nretry-after: soon\r\n\r\n", None),
    ] {
        let receiver = Receiver::start(answer).await;
        let answer = answer_to(post(&receiver.url)).await;
        assert_eq!(answer.retry_after, expected.map(Duration::from_secs), "{answer:?}");
        assert_eq!(answer.error, Some("status"));
    }
}

#[tokio::test]
async fn status_counts_although_the_body_breaks_off_or_is_endless() {
    let mut endless = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n".to_vec();
    endless.resize(1 << 20, b'x');
    for answer in [&b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"[..], endless.leak()] {
        let receiver = Receiver::start(answer).await;
        assert_eq!(answer_to(post(&receiver.url)).await, Answer::of_status(200, None));
    }
}

/// URL of a server that greets in plain text before it reads.
async fn greet() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/hook", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        connection.write_all(b"220 mail.example ESMTP\r\n").await.expect("writes");
        // Until the sender closes.
        while connection.read_buf(&mut Vec::new()).await.is_ok_and(|bytes| bytes > 0) {}
    });
    url
}

#[tokio::test]
async fn failure_without_an_answer_is_a_code() {
    let closing = Receiver::start(b"").await;
    let no_http = Receiver::start(b"220 mail.example ESMTP\r\n").await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent_url = format!("http://{}/hook", silent.local_addr().expect("bound"));
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let free_url = format!("http://{}/hook", free.local_addr().expect("bound"));
    drop(free);
    let greeting = greet().await;
    for (url, code) in [
        (closing.url.as_str(), "connection_lost"),
        (&no_http.url, "connection_lost"),
        (&silent_url, "timeout"),
        (&free_url, "connect"),
        (&greeting, "tls"),
        ("ftp://127.0.0.1/hook", "bad_url"),
        ("https://169.254.169.254/latest/meta-data", "unreachable_name"),
    ] {
        let answer = answer_to(Post { timeout: Duration::from_secs(1), ..post(url) }).await;
        assert_eq!(answer, Answer::failed(code), "{url}");
    }
}

#[tokio::test]
async fn loopback_receiver_is_never_dialled_outside_development() {
    let mut receiver = Receiver::start(TAKEN).await;
    for url in [receiver.url.clone(), receiver.url.replace("127.0.0.1", "localhost")] {
        let answer = sender(false).post(post(&url)).await;
        assert_eq!(answer, Ok(Answer::failed("unreachable_name")), "{url}");
    }
    assert!(receiver.next().is_none());
}

#[tokio::test]
async fn damaged_secret_sends_nothing() {
    let mut receiver = Receiver::start(TAKEN).await;
    let damaged = Post { secrets: vec!["whsec_not base64"], ..post(&receiver.url) };
    assert_eq!(sender(true).post(damaged).await, Err(SecretError));
    assert!(receiver.next().is_none());
}
