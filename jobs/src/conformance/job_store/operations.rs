//! Cases of bulk operations.

use base::{Ambient, Timestamp, ids};
use futures::future::join_all;

use super::{StoreHarness, noon, seconds};
use crate::{
    id::OperationId,
    job_store::{JobStore, OPERATIONS_ENDED_MAX, OPERATIONS_OPEN_MAX, OperationRow, OperationState},
};

/// A previewed operation; those of later times have later ids.
fn previewed(at: Timestamp) -> OperationRow {
    let mut id = Ambient::system().uuid().into_bytes();
    id[..6].copy_from_slice(&ids::floor(at).into_bytes()[..6]);
    let (id, state) = (OperationId(ids::Uuid::from_bytes(id)), OperationState::Previewed);
    OperationRow { id, state, created_at: at, content: "{}".to_owned(), version: 0 }
}

/// Adds an operation, deleting none for its age.
async fn add(store: &dyn JobStore, operation: &OperationRow) -> bool {
    let epoch = Timestamp::UNIX_EPOCH;
    store.add_operation(operation.clone(), epoch, epoch).await.expect("adds")
}

async fn put(store: &dyn JobStore, operation: &OperationRow, state: OperationState) -> bool {
    store.put_operation(&OperationRow { state, ..operation.clone() }).await.expect("answers")
}

/// Adds an operation that is in this state then.
async fn in_state(store: &dyn JobStore, at: Timestamp, state: OperationState) -> OperationId {
    let operation = previewed(at);
    assert!(add(store, &operation).await && put(store, &operation, state).await);
    operation.id
}

async fn listed(store: &dyn JobStore, state: Option<OperationState>) -> Vec<OperationId> {
    store.operations(state).await.expect("lists").into_iter().map(|operation| operation.id).collect()
}

/// An operation reads back whole, with any text.
pub async fn an_operation_reads_back_whole(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let content = serde_json::json!({ "why": "half \0 \"of\" it\n🦀" }).to_string();
    let operation = OperationRow { content, ..previewed(noon()) };
    assert!(add(&*store, &operation).await);
    assert_eq!(second.find_operation(operation.id).await.expect("reads").as_ref(), Some(&operation));
    assert_eq!(second.operations(None).await.expect("lists"), [operation]);
    assert_eq!(store.find_operation(previewed(noon()).id).await.expect("reads"), None);
}

/// Operations are listed newest first, all or those of a state.
pub async fn operations_are_listed_newest_first(h: &impl StoreHarness) {
    use OperationState::{Previewed, Running};
    let store = h.store();
    let operations = [0, 1, 2].map(|second| previewed(noon() + seconds(second)));
    for operation in &operations {
        assert!(add(&*store, operation).await);
    }
    let ids = operations.each_ref().map(|operation| operation.id);
    assert!(put(&*store, &operations[1], Running).await);
    assert_eq!(listed(&*store, None).await, [ids[2], ids[1], ids[0]]);
    assert_eq!(listed(&*store, Some(Previewed)).await, [ids[2], ids[0]]);
    assert_eq!(listed(&*store, Some(Running)).await, [ids[1]]);
}

/// A write counts only from the version that its writer has read; of many one wins.
pub async fn a_write_counts_from_the_version_it_has_read(h: &impl StoreHarness) {
    use OperationState::{Done, Running};
    let stores = [h.store(), h.second().await];
    let first = previewed(noon());
    assert!(!put(&*stores[0], &first, Running).await, "there is none");
    assert!(add(&*stores[0], &first).await);
    let writers = (0..16).map(|n| {
        let (store, content) = (stores[n % 2].clone(), format!("{{\"writer\":{n}}}"));
        let operation = OperationRow { state: Running, content, ..first.clone() };
        tokio::spawn(async move { store.put_operation(&operation).await.expect("answers") })
    });
    let wins = join_all(writers).await.into_iter().filter(|win| matches!(win, Ok(true))).count();
    assert_eq!(wins, 1);
    let read = stores[1].find_operation(first.id).await.expect("reads").expect("is there");
    assert_eq!((read.state, read.version, read.created_at), (Running, 1, noon()));
    assert!(read.content.starts_with("{\"writer\":"), "{}", read.content);
    assert!(!put(&*stores[0], &first, Done).await, "that version is over");
    assert!(put(&*stores[0], &read, Done).await);
}

/// Operations that have not ended are bounded; old previews make room.
pub async fn open_operations_are_bounded(h: &impl StoreHarness) {
    let store = h.store();
    let old = previewed(noon() - seconds(60));
    assert!(add(&*store, &old).await);
    for _ in 1..OPERATIONS_OPEN_MAX {
        assert!(add(&*store, &previewed(noon())).await);
    }
    let further = previewed(noon());
    assert!(!add(&*store, &further).await);
    assert_eq!(store.find_operation(further.id).await.expect("reads"), None);
    let epoch = Timestamp::UNIX_EPOCH;
    assert!(store.add_operation(further.clone(), noon(), epoch).await.expect("adds"));
    assert_eq!(store.find_operation(old.id).await.expect("reads"), None);
    assert!(store.find_operation(further.id).await.expect("reads").is_some());
}

/// Ended operations expire by age and by number; running ones stay, however old.
pub async fn ended_operations_expire(h: &impl StoreHarness) {
    use OperationState::{Cancelled, Done, Failed, Running};
    let store = h.store();
    let ages = [(9, Running), (8, Done), (7, Cancelled), (6, Failed), (0, Done)];
    let mut ids = Vec::new();
    for (age, state) in ages {
        ids.push(in_state(&*store, noon() - seconds(age), state).await);
    }
    let next = previewed(noon() + seconds(1));
    let epoch = Timestamp::UNIX_EPOCH;
    assert!(store.add_operation(next.clone(), epoch, noon() - seconds(5)).await.expect("adds"));
    assert_eq!(listed(&*store, None).await, [next.id, ids[4], ids[0]]);
    for _ in 0..OPERATIONS_ENDED_MAX / 50 {
        join_all((0..50).map(|_| in_state(&*store, noon() + seconds(2), Done))).await;
    }
    assert!(add(&*store, &previewed(noon() + seconds(3))).await);
    let all = listed(&*store, None).await;
    assert!(all.contains(&ids[0]) && !all.contains(&ids[4]), "the oldest ended one made room");
    assert_eq!(listed(&*store, Some(Done)).await.len(), OPERATIONS_ENDED_MAX as usize);
}
