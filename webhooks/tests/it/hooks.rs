//! Calls of hooks: signature, refused addresses, bounds of answers, failures.

use std::time::Duration;

use base::Ambient;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use webhooks::{HOOK_ANSWER_BYTES_MAX, HookCall, HookCaller, HookError, UrlPolicy};

use crate::receiver::Receiver;

/// `whsec_` and base64 of 32 bytes.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
const BODY: &str = r#"{"type":"checkout.tax"}"#;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{\"adjustments\":[]}";

fn call(url: &str) -> HookCall<'_> {
    HookCall {
        url,
        secret: SECRET,
        id: "hok_1".to_owned(),
        body: BODY.to_owned(),
        trace: None,
        at: Ambient::system().now(),
        deadline: Duration::from_secs(10),
    }
}

async fn answer_to(call: HookCall<'_>, allow_loopback: bool) -> Result<String, HookError> {
    let caller = HookCaller::new(UrlPolicy { allow_loopback }).expect("a caller");
    Ok(String::from_utf8(caller.call(call).await?).expect("text"))
}

#[tokio::test]
async fn an_answer_is_read_and_the_question_verifies() {
    let mut receiver = Receiver::start(ANSWER).await;
    assert_eq!(answer_to(call(&receiver.url), true).await.as_deref(), Ok(r#"{"adjustments":[]}"#));
    let received = receiver.received().await;
    let verifier = Webhook::new(SECRET).expect("a secret");
    verifier.verify(&received.body, &received.headers).expect("a valid signature");
    assert_eq!(received.body, BODY.as_bytes());
    assert_eq!(received.headers["webhook-id"], "hok_1");
}

#[tokio::test]
async fn only_allowed_addresses_are_called() {
    let mut receiver = Receiver::start(ANSWER).await;
    let refused = answer_to(call(&receiver.url), false).await;
    assert_eq!(refused, Err(HookError::Unanswered("unreachable_name")));
    assert!(receiver.next().is_none());
    let malformed = answer_to(call("https://user@example.com/"), true).await;
    assert_eq!(malformed, Err(HookError::Unanswered("bad_url")));
}

#[tokio::test]
async fn another_status_and_a_redirect_are_no_answers() {
    let receiver = Receiver::start(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(answer_to(call(&receiver.url), true).await, Err(HookError::Status(500)));
    let receiver =
        Receiver::start(b"HTTP/1.1 307 There\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")
            .await;
    assert_eq!(answer_to(call(&receiver.url), true).await, Err(HookError::Status(307)));
    let receiver = Receiver::start(b"").await;
    assert_eq!(answer_to(call(&receiver.url), true).await, Err(HookError::Unanswered("connection_lost")));
}

#[tokio::test]
async fn a_silent_hook_ends_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
    let silent = HookCall { deadline: Duration::from_millis(50), ..call(&url) };
    assert_eq!(answer_to(silent, true).await, Err(HookError::Unanswered("timeout")));
}

#[tokio::test]
async fn a_long_answer_is_not_read_to_its_end() {
    let length = HOOK_ANSWER_BYTES_MAX + 1;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    let answer = [head.into_bytes(), vec![b' '; length]].concat().leak();
    let receiver = Receiver::start(answer).await;
    assert_eq!(answer_to(call(&receiver.url), true).await, Err(HookError::TooLong));
}

#[tokio::test]
async fn a_malformed_secret_sends_no_call() {
    let mut receiver = Receiver::start(ANSWER).await;
    let unsigned = HookCall { secret: "whsec_!", ..call(&receiver.url) };
    assert!(matches!(answer_to(unsigned, true).await, Err(HookError::Secret(_))));
    assert!(receiver.next().is_none());
}
