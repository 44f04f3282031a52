//! The command `orderworks control settle` on the real process.

use crate::{
    util::{audit::FULL, run, run_json, verify},
    verify::{one_right_order, plant},
};

#[tokio::test]
async fn what_was_put_right_by_hand_is_settled_with_a_note() {
    let data = tempfile::tempdir().expect("a folder");
    let (dev, id) = one_right_order(data.path()).await;
    plant(&data.path().join("orders.db"), "UPDATE orders SET refunded_minor = 1").await;
    let (status, violations, _) = verify(data.path(), &[], &FULL).await;
    assert_eq!((status, &violations[0]["code"]), (Some(1), &"refund_sum_differs".into()));
    let settle = |note| ["control", "settle", &id, "--note", note].map(str::to_owned);
    let (ok, _, told) = run(data.path(), &settle(" ").each_ref().map(String::as_str)).await;
    assert!(!ok && told.contains("1 to 500 characters"), "{told}");
    let settle = settle("a difference of one cent, paid back by bank transfer");
    let settle = settle.each_ref().map(String::as_str);
    let settled = run_json(data.path(), &settle).await;
    assert_eq!((&settled["order"], &settled["result"]), (&id.as_str().into(), &"settled".into()));
    assert_eq!(settled["violations"].as_array().map(Vec::len), Some(1), "{settled}");
    let (status, violations, summary) = verify(data.path(), &[], &FULL).await;
    assert_eq!((status, violations.len()), (Some(0), 0), "{summary}");
    let (ok, told, _) = run(data.path(), &settle).await;
    assert!(!ok && told.contains("nothing wrong"), "{told}");
    assert!(dev.stop().await.success());
}
