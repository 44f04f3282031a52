//! Cases of sessions and carts.

use std::{sync::Arc, time::Duration};

use base::testing::until;
use cache::{SESSION_BYTES_MAX, SessionError, SessionKey, Sessions};

use super::SharedSessions;
use crate::race;

const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(200);

fn key(id: &str) -> SessionKey {
    SessionKey::new("cart", id)
}

async fn data(sessions: &dyn Sessions, key: &SessionKey) -> Option<Vec<u8>> {
    sessions.get(key).await.expect("reads").map(|session| session.data)
}

/// The data are arbitrary bytes.
pub async fn a_session_reads_back_until_it_is_deleted(sessions: SharedSessions) {
    assert_eq!(sessions.get(&key("a")).await.expect("reads"), None);
    for bytes in [&b"\0\xff \r\n"[..], b"", "ü".as_bytes()] {
        let version = sessions.put(&key("a"), bytes, LONG).await.expect("writes");
        let read = sessions.get(&key("a")).await.expect("reads").expect("there");
        assert_eq!((read.data.as_slice(), read.version), (bytes, version));
    }
    assert!(sessions.delete(&key("a")).await.expect("deletes"));
    assert!(!sessions.delete(&key("a")).await.expect("deletes"));
    assert_eq!(data(&*sessions, &key("a")).await, None);
}

/// Replacing an outdated version changes nothing.
pub async fn the_last_writer_wins_and_a_replacement_knows(sessions: SharedSessions) {
    let key = key("r");
    let replace =
        async |expected, bytes: &[u8]| sessions.replace(&key, expected, bytes, LONG).await.expect("answers");
    assert_eq!(replace(Some(1), b"of nothing").await, None);
    let first = replace(None, b"first").await.expect("there was none");
    assert_eq!(replace(None, b"again").await, None);
    let second = replace(Some(first), b"second").await.expect("no other write was faster");
    assert_eq!(replace(Some(first), b"late").await, None);
    assert_eq!(data(&*sessions, &key).await.as_deref(), Some(&b"second"[..]));
    let third = sessions.put(&key, b"second", LONG).await.expect("writes");
    assert_eq!(replace(Some(second), b"late").await, None, "the same data is another version");
    sessions.delete(&key).await.expect("deletes");
    assert_eq!(replace(Some(third), b"late").await, None);
}

/// Twenty concurrent writers add an item each, and retry until the replacement succeeds.
pub async fn a_cart_filled_by_many_at_once_loses_nothing(sessions: SharedSessions) {
    let fill = |item: u32| {
        let sessions = Arc::clone(&sessions);
        async move {
            loop {
                let cart = sessions.get(&key("full")).await.expect("reads");
                let (expected, mut items) =
                    cart.map_or((None, Vec::new()), |cart| (Some(cart.version), cart.data));
                items.push(u8::try_from(item).expect("few"));
                if sessions.replace(&key("full"), expected, &items, LONG).await.expect("answers").is_some() {
                    return;
                }
            }
        }
    };
    race(20, fill).await;
    let mut items = data(&*sessions, &key("full")).await.expect("there");
    items.sort_unstable();
    assert_eq!(items, (0..20).collect::<Vec<u8>>());
}

/// An expired session cannot be revived, and its space is freed.
pub async fn an_ended_session_is_as_good_as_none(sessions: SharedSessions) {
    let key = key("ended");
    let version = sessions.put(&key, b"old", SHORT).await.expect("writes");
    sessions.put(&SessionKey::new("cart", "lives"), b"l", LONG).await.expect("writes");
    until("it ends", || async { data(&*sessions, &key).await.is_none() }).await;
    assert_eq!(sessions.replace(&key, Some(version), b"new", LONG).await.expect("answers"), None);
    assert!(!sessions.delete(&key).await.expect("deletes"));
    sessions.put(&key, b"old", SHORT).await.expect("writes");
    until("it ends again", || async { data(&*sessions, &key).await.is_none() }).await;
    assert!(sessions.replace(&key, None, b"new", LONG).await.expect("answers").is_some());
    sessions.expire(100).await.expect("expires");
    assert_eq!(data(&*sessions, &key).await.as_deref(), Some(&b"new"[..]));
    assert!(data(&*sessions, &SessionKey::new("cart", "lives")).await.is_some());
}

/// A cart is not found as a sign-in.
pub async fn kinds_and_ids_are_apart(sessions: SharedSessions) {
    sessions.put(&key("x"), b"cart", LONG).await.expect("writes");
    assert_eq!(data(&*sessions, &SessionKey::new("sign_in", "x")).await, None);
    assert_eq!(data(&*sessions, &key("X")).await, None);
}

/// [`SESSION_BYTES_MAX`] bytes are accepted, one more is not.
pub async fn too_much_is_refused(sessions: SharedSessions) {
    let most = vec![7; SESSION_BYTES_MAX];
    sessions.put(&key("most"), &most, LONG).await.expect("writes");
    assert_eq!(data(&*sessions, &key("most")).await, Some(most.clone()));
    let more = [most, vec![7]].concat();
    let put = sessions.put(&key("more"), &more, LONG).await;
    assert!(matches!(put, Err(SessionError::TooLarge { bytes }) if bytes == more.len()));
    let replaced = sessions.replace(&key("more"), None, &more, LONG).await;
    assert!(matches!(replaced, Err(SessionError::TooLarge { .. })));
}
