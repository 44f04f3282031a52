//! The conformance suite of record stores, as cases to run against a [`RecordStore`].
//!
//! Guarantees: a case uses a store only through [`RecordStore`], and checks [`RecordStore::expiry_grain`] where engines
//! may differ. A new engine implements [`RecordHarness`] and calls [`crate::record_conformance_tests`].

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{Ambient, ErrorClass, Timestamp, TraceContext};
use futures::future::join_all;

use crate::{
    engine::EngineError,
    envelope::JobId,
    records::{AttemptOutcome, AttemptRecord, RecordFilter, RecordStore},
};

/// The means by which the cases test a record store.
#[async_trait]
pub trait RecordHarness: Sized + Send + Sync + 'static {
    /// Reason why the cases cannot run here, for a store whose server is absent; printed instead of running them.
    fn skipped() -> Option<String> {
        None
    }

    /// Creates an empty store and a first handle to it.
    async fn start() -> Self;

    /// The first handle.
    fn records(&self) -> Arc<dyn RecordStore>;

    /// A second handle to the same store, as another process would have.
    async fn second(&self) -> Arc<dyn RecordStore>;

    /// Renames a column that every write needs.
    async fn break_schema(&self);
}

/// Runs all cases as tests of the calling crate, which needs `tokio` with `macros` and `rt-multi-thread`.
///
/// ```text
/// orderworks_jobs::record_conformance_tests!(MyHarness);
/// ```
#[macro_export]
macro_rules! record_conformance_tests {
    ($harness:ty) => {
        $crate::record_conformance_tests! { @cases $harness;
            a_record_reads_back_whole, a_record_is_kept_once, a_large_batch_is_kept_whole, newest_come_first_page_by_page,
            every_filter_filters, processes_write_side_by_side, records_of_any_day_are_kept,
            expiry_takes_the_old_and_leaves_the_new, no_text_is_refused_in_a_record, a_renamed_column_is_a_defect;
        }
    };
    (@cases $harness:ty; $($case:ident),+;) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(why) = <$harness as $crate::conformance::records::RecordHarness>::skipped() {
                    $crate::conformance::skip(&why);
                    return;
                }
                let harness = <$harness as $crate::conformance::records::RecordHarness>::start().await;
                $crate::conformance::records::$case(&harness).await;
            }
        )+
    };
}

/// A completed attempt that started this long ago.
fn begun(ago: Duration) -> AttemptRecord {
    let ambient = Ambient::system();
    AttemptRecord {
        job: JobId::fresh(&ambient),
        kind: "pack_parcel".to_owned(),
        queue: "parcels".to_owned(),
        subject: None,
        attempt: 1,
        worker: "w-1".to_owned(),
        created_at: ambient.now() - ago,
        started_at: ambient.now() - ago,
        duration: Duration::from_nanos(1_500_000_001),
        outcome: AttemptOutcome::Completed,
        error: None,
        trace: None,
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn all() -> RecordFilter {
    RecordFilter { limit: 1000, ..RecordFilter::default() }
}

async fn append(records: &dyn RecordStore, batch: &[AttemptRecord]) {
    records.append(batch.into()).await.expect("appends");
}

async fn list(records: &dyn RecordStore, filter: &RecordFilter) -> Vec<AttemptRecord> {
    records.list(filter).await.expect("lists")
}

/// Every field reads back, for every outcome.
pub async fn a_record_reads_back_whole(h: &impl RecordHarness) {
    let outcomes = [
        AttemptOutcome::Completed,
        AttemptOutcome::Retried,
        AttemptOutcome::Snoozed,
        AttemptOutcome::Cancelled,
        AttemptOutcome::Dead,
        AttemptOutcome::Stale,
    ];
    let batch: Vec<AttemptRecord> = (0..)
        .zip(outcomes)
        .map(|(n, outcome)| AttemptRecord {
            subject: Some(format!("ord_{n} 'ü\" 📦")),
            attempt: u32::MAX,
            outcome,
            error: (outcome != AttemptOutcome::Completed).then(|| "no paper: ü".to_owned()),
            trace: Some(TraceContext::fresh(&Ambient::system())),
            ..begun(seconds(n))
        })
        .collect();
    append(&*h.records(), &batch).await;
    append(&*h.records(), &[]).await;
    assert_eq!(list(&*h.second().await, &all()).await, batch);
}

/// A batch larger than any store's statement, most records alike, is stored completely.
pub async fn a_large_batch_is_kept_whole(h: &impl RecordHarness) {
    let mixed = |n: u64| AttemptRecord {
        kind: if n.is_multiple_of(10) { format!("kind_{n}") } else { "pack_parcel".to_owned() },
        outcome: if n.is_multiple_of(100) { AttemptOutcome::Retried } else { AttemptOutcome::Completed },
        ..begun(seconds(n))
    };
    let batch: Vec<AttemptRecord> = (0..1200).map(mixed).collect();
    append(&*h.records(), &batch).await;
    let mut kept = list(&*h.second().await, &all()).await;
    let before = kept.last().map(|record| record.started_at);
    kept.extend(list(&*h.second().await, &RecordFilter { before, ..all() }).await);
    assert_eq!(kept, batch);
}

/// A batch of unknown outcome may be written again; another attempt, or another start of it, is another record.
pub async fn a_record_is_kept_once(h: &impl RecordHarness) {
    let records = h.records();
    let first = begun(seconds(30));
    let again = AttemptRecord { started_at: first.started_at + seconds(1), ..first.clone() };
    let next = AttemptRecord { attempt: 2, ..again.clone() };
    let told_otherwise = AttemptRecord { error: Some("another story".to_owned()), ..first.clone() };
    append(&*records, &[first.clone(), first.clone()]).await;
    append(&*records, &[told_otherwise, again.clone(), next.clone()]).await;
    assert_eq!(list(&*records, &all()).await, [next, again, first]);
}

/// A page that continues before the last record shown shows each record once.
pub async fn newest_come_first_page_by_page(h: &impl RecordHarness) {
    let records = h.records();
    let batch: Vec<AttemptRecord> = (0..25).map(|n| begun(seconds(n * 7))).collect();
    // Written in another order than that of their times.
    let (even, odd): (Vec<_>, Vec<_>) =
        batch.iter().cloned().partition(|r| r.started_at.as_second() % 2 == 0);
    append(&*records, &odd).await;
    append(&*records, &even).await;
    let (mut listed, mut before) = (Vec::new(), None);
    loop {
        let page = list(&*records, &RecordFilter { limit: 4, before, ..all() }).await;
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        before = Some(last.started_at);
        listed.extend(page);
    }
    assert_eq!(listed, batch);
}

/// Each filter works alone and together with the others.
pub async fn every_filter_filters(h: &impl RecordHarness) {
    let records = h.records();
    let plain = begun(seconds(5));
    let wanted = AttemptRecord {
        kind: "weigh_parcel".to_owned(),
        queue: "scales".to_owned(),
        subject: Some("ord_7".to_owned()),
        outcome: AttemptOutcome::Dead,
        ..begun(seconds(10))
    };
    append(&*records, &[plain.clone(), wanted.clone()]).await;
    let filters = [
        RecordFilter { job: Some(wanted.job), ..all() },
        RecordFilter { subject: wanted.subject.clone(), ..all() },
        RecordFilter { queue: Some(wanted.queue.clone()), ..all() },
        RecordFilter { kind: Some(wanted.kind.clone()), ..all() },
        RecordFilter { outcome: Some(wanted.outcome), ..all() },
        RecordFilter { before: Some(plain.started_at), ..all() },
        RecordFilter {
            job: Some(wanted.job),
            subject: wanted.subject.clone(),
            queue: Some(wanted.queue.clone()),
            kind: Some(wanted.kind.clone()),
            outcome: Some(wanted.outcome),
            ..all()
        },
    ];
    for filter in filters {
        assert_eq!(list(&*records, &filter).await, std::slice::from_ref(&wanted), "{filter:?}");
    }
    assert_eq!(
        list(&*records, &RecordFilter { outcome: Some(AttemptOutcome::Completed), ..all() }).await,
        [plain]
    );
    let none = RecordFilter { queue: Some("nowhere".to_owned()), ..all() };
    assert!(list(&*records, &none).await.is_empty());
}

/// The same batch written by several processes at once is stored once.
pub async fn processes_write_side_by_side(h: &impl RecordHarness) {
    let stores = [h.records(), h.second().await];
    let batch: Vec<AttemptRecord> = (0..200).map(|n| begun(seconds(n))).collect();
    let writes = (0..6).map(|n: usize| {
        let (store, mut batch) = (Arc::clone(&stores[n % 2]), batch.clone());
        if n > 2 {
            batch.reverse();
        }
        tokio::spawn(async move { store.append(batch.into()).await })
    });
    for written in join_all(writes).await {
        written.expect("ends").expect("appends");
    }
    assert_eq!(list(&*stores[0], &all()).await, batch);
}

/// Records of a clock that is wrong by weeks are kept.
pub async fn records_of_any_day_are_kept(h: &impl RecordHarness) {
    let stores = [h.records(), h.second().await];
    let day = seconds(86_400);
    let ahead = AttemptRecord { started_at: Ambient::system().now() + day * 20, ..begun(seconds(0)) };
    let batch: Vec<AttemptRecord> = [ahead].into_iter().chain((1..20).map(|n| begun(day * n))).collect();
    let writes = stores.iter().map(|store| store.append(batch.as_slice().into()));
    for written in join_all(writes).await {
        written.expect("appends");
    }
    assert_eq!(list(&*stores[0], &all()).await, batch);
}

/// Records older by more than the engine's grain are dropped in portions; younger ones stay.
pub async fn expiry_takes_the_old_and_leaves_the_new(h: &impl RecordHarness) {
    let records = h.records();
    let (grain, hour) = (records.expiry_grain(), seconds(3600));
    let young = begun(seconds(3540));
    let old: Vec<AttemptRecord> = (1..=4).map(|n| begun(hour + (grain + seconds(60)) * n)).collect();
    append(&*records, &old).await;
    append(&*records, std::slice::from_ref(&young)).await;
    let before: Timestamp = Ambient::system().now() - hour;
    let mut gone = 0;
    loop {
        let some = records.expire(before, 1).await.expect("expires");
        gone += some;
        if some == 0 {
            break;
        }
        assert!(some <= 2, "about one at a time: {some}");
    }
    assert_eq!((gone, list(&*records, &all()).await), (4, vec![young]));
    append(&*records, &[begun(seconds(1))]).await;
}

/// A text that a store cannot represent does not lose a batch.
pub async fn no_text_is_refused_in_a_record(h: &impl RecordHarness) {
    let records = h.records();
    let odd = "a\0b\u{1}\u{fffd}'\\\"";
    let strange = AttemptRecord {
        error: Some(odd.to_owned()),
        subject: Some(odd.to_owned()),
        outcome: AttemptOutcome::Retried,
        ..begun(seconds(1))
    };
    append(&*records, std::slice::from_ref(&strange)).await;
    let listed = list(&*records, &RecordFilter { job: Some(strange.job), ..all() }).await;
    assert!(listed[0].error.as_ref().is_some_and(|error| error.starts_with('a')));
}

/// A missing column is a [`ErrorClass::Defect`], not an outage that ends by itself.
pub async fn a_renamed_column_is_a_defect(h: &impl RecordHarness) {
    let records = h.records();
    append(&*records, &[begun(seconds(2))]).await;
    h.break_schema().await;
    let error = records.append([begun(seconds(1))].as_slice().into()).await.expect_err("the column is gone");
    assert!(matches!(error, EngineError::Failed { class: ErrorClass::Defect, .. }), "{error:?}");
}
