//! Cases of run reports.

use base::{Ambient, Timestamp};
use serde_json::value::to_raw_value;

use super::{StoreHarness, noon, seconds};
use crate::{
    envelope::JobId,
    job_store::{JobStore, LogLine, Progress, REPORTS_EXPIRED_MAX, RunReport},
};

fn report(job: JobId, started_at: Timestamp, message: &str) -> RunReport {
    RunReport {
        job,
        attempt: 1,
        worker: "w-1".to_owned(),
        started_at,
        reported_at: started_at + seconds(1),
        ended_at: None,
        progress: Some(Progress { percent: 40, message: message.to_owned() }),
        log: Vec::new(),
        lines_dropped: 0,
        result: None,
    }
}

fn fresh() -> JobId {
    JobId::fresh(&Ambient::system())
}

/// Message of the stored report.
async fn message(store: &dyn JobStore, job: JobId) -> Option<String> {
    let report = store.report(job).await.expect("reads")?;
    report.progress.map(|progress| progress.message)
}

/// A report reads back whole, with any text; a job without one has none.
pub async fn a_report_reads_back_whole(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let job = fresh();
    let text = "half \0 \"of\" it\n🦀";
    let line = LogLine { at: noon() + seconds(2), text: text.to_owned() };
    let result = to_raw_value(&serde_json::json!({ "rows": [1, 2.5], "text": text })).expect("a result");
    let whole = RunReport {
        attempt: 3,
        ended_at: Some(noon() + seconds(9)),
        log: vec![line.clone(), line],
        lines_dropped: 7,
        result: Some(result.clone()),
        ..report(job, noon(), text)
    };
    store.put_reports(vec![whole.clone()]).await.expect("stores");
    let read = second.report(job).await.expect("reads").expect("is there");
    assert_eq!((read.job, read.attempt, read.worker.as_str()), (job, 3, "w-1"));
    assert_eq!(
        (read.started_at, read.reported_at, read.ended_at),
        (noon(), noon() + seconds(1), whole.ended_at)
    );
    assert_eq!((read.progress, read.log, read.lines_dropped), (whole.progress, whole.log, 7));
    assert_eq!(read.result.expect("a result").get(), result.get());
    assert!(store.report(fresh()).await.expect("reads").is_none());
}

/// A report of the same run or a later one replaces, that of an earlier run does not.
pub async fn an_earlier_run_never_replaces_a_later_one(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let job = fresh();
    let puts = [(5, "a", "a"), (5, "b", "b"), (9, "c", "c"), (5, "d", "c"), (9, "e", "e")];
    for (start, put, kept) in puts {
        store.put_reports(vec![report(job, noon() + seconds(start), put)]).await.expect("stores");
        assert_eq!(message(&*second, job).await.as_deref(), Some(kept), "{put}");
    }
}

/// Of several reports of one job in a batch the one of the last run counts, and of one run the last.
pub async fn a_batch_may_name_a_job_twice(h: &impl StoreHarness) {
    let store = h.store();
    let (one, two) = (fresh(), fresh());
    let later = noon() + seconds(60);
    let batch = vec![
        report(one, later, "later"),
        report(two, noon(), "first"),
        report(one, noon(), "earlier"),
        report(two, noon(), "second"),
    ];
    store.put_reports(batch).await.expect("stores");
    assert_eq!(message(&*store, one).await.as_deref(), Some("later"));
    assert_eq!(message(&*store, two).await.as_deref(), Some("second"));
    store.put_reports(Vec::new()).await.expect("nothing is a batch too");
}

/// Reports of many jobs are read at once, by id.
pub async fn reports_of_many_jobs_are_read_at_once(h: &impl StoreHarness) {
    let store = h.store();
    let mut jobs: Vec<JobId> = (0..5).map(|_| fresh()).collect();
    let reports = jobs.iter().map(|job| report(*job, noon(), &job.to_string()));
    store.put_reports(reports.collect()).await.expect("stores");
    jobs.sort_unstable();
    let wanted = [jobs[3], fresh(), jobs[1]];
    let read = store.reports(&wanted).await.expect("reads");
    assert_eq!(read.iter().map(|report| report.job).collect::<Vec<_>>(), [jobs[1], jobs[3]]);
    assert!(store.reports(&[]).await.expect("reads").is_empty());
}

/// Reports expire by the start of their runs, the oldest first, a bounded number at a time.
pub async fn old_reports_expire_in_slices(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let (oldest, old, young) = (fresh(), fresh(), fresh());
    let mut reports: Vec<RunReport> =
        (1..REPORTS_EXPIRED_MAX).map(|_| report(fresh(), noon() - seconds(2), "many")).collect();
    reports.push(report(oldest, noon() - seconds(9), "oldest"));
    reports.push(report(old, noon() - seconds(1), "old"));
    reports.push(report(young, noon(), "young"));
    store.put_reports(reports).await.expect("stores");
    assert_eq!(store.expire_reports(noon()).await.expect("expires"), u64::from(REPORTS_EXPIRED_MAX));
    assert_eq!(message(&*second, oldest).await, None);
    assert_eq!(message(&*second, old).await.as_deref(), Some("old"));
    assert_eq!(second.expire_reports(noon()).await.expect("expires"), 1);
    assert_eq!(store.expire_reports(noon()).await.expect("expires"), 0);
    assert_eq!(message(&*store, young).await.as_deref(), Some("young"));
}
