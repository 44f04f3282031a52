//! Changes of an endpoint while a delivery to its old state is under way.

use jobs::Job;
use store::webhooks::EndpointChange;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::oneshot,
};
use workers::jobs::DeliverWebhook;

use crate::util::{TestMerchant, context};

/// A receiver that tells of a call, and answers it with this status line once it is let.
async fn held_up(status: &'static str) -> (String, oneshot::Receiver<()>, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
    let ((came, has_come), (go, may_go)) = (oneshot::channel(), oneshot::channel());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a call");
        assert!(stream.read(&mut [0; 8192]).await.expect("a request") > 0);
        came.send(()).expect("the test waits");
        may_go.await.expect("the test answers");
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.expect("answers");
        stream.shutdown().await.expect("ends");
        stream.read_to_end(&mut Vec::new()).await.expect("the rest");
    });
    (url, has_come, go)
}

#[tokio::test]
async fn changes_of_an_endpoint_while_a_delivery_is_under_way_are_kept() {
    let shop = TestMerchant::open().await;
    let order = shop.place("pm_card_visa").await;
    let event = shop.orders.order_events(order.id, 0).await.expect("reads").remove(0);
    let new_url = Some("https://hooks.example/new".to_owned());
    let moved = EndpointChange { url: new_url.clone(), ..EndpointChange::default() };
    let off = EndpointChange { enabled: Some(false), ..EndpointChange::default() };
    // The change (none: deleted), the answer of the old URL, how the attempt ends, and whether it is enabled then.
    for (change, status, ends, enabled) in [
        (Some(moved.clone()), "410 Gone", "endpoint_changed", Some(true)),
        (Some(moved), "500 Oh", "status_500", Some(true)),
        (Some(off.clone()), "500 Oh", "status_500", Some(false)),
        (Some(off), "200 OK", "", Some(false)),
        (None, "410 Gone", "endpoint_gone", None),
        (None, "200 OK", "", None),
    ] {
        let (url, has_come, go) = held_up(status).await;
        let endpoint = shop.endpoint(&url).await;
        let has_moved = change.as_ref().is_some_and(|change| change.url.is_some());
        let ctx = context(shop.env());
        let job = DeliverWebhook { endpoint, event: event.id, order: event.order, again: false };
        let meanwhile = async {
            has_come.await.expect("a call");
            match change {
                Some(change) => {
                    let changed = shop.orders.update_endpoint(shop.merchant, endpoint, change).await;
                    assert!(changed.expect("updates").is_some());
                }
                None => assert!(shop.orders.delete_endpoint(shop.merchant, endpoint).await.expect("deletes")),
            }
            go.send(()).expect("the receiver waits");
        };
        let (ended, ()) = tokio::join!(job.run(&ctx), meanwhile);
        assert_eq!(ended.err().map(|error| error.describe()).unwrap_or_default(), ends, "{status}");
        let stored = shop.orders.endpoint_by_id(endpoint).await.expect("reads");
        assert_eq!(stored.as_ref().map(|stored| stored.enabled), enabled, "{status}");
        if let Some(stored) = stored.filter(|_| has_moved) {
            assert_eq!(
                (Some(stored.url), stored.failing_since),
                (new_url.clone(), None),
                "nothing is known of it"
            );
        }
        let delivered = shop.orders.delivered(endpoint, event.id).await.expect("reads");
        assert_eq!(delivered, ends.is_empty(), "what was sent is recorded");
    }
}
