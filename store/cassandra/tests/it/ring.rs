//! A cluster of three nodes, each with a copy of every row; nodes are killed under load and come back.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use base::Ambient;
use store::{
    PaymentStore, StoreError,
    domain::{Decision, MerchantId, PaymentId},
    payments::{Begun, Decided, NewPayment},
};
use store_cassandra::{CassandraConfig, CassandraConnectError, CassandraPayments, ListingReads};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{capture, either, new_payment};
use crate::util::ring::TestCluster;

const WORKERS: usize = 4;
/// Longest pause of a worker between payments: three servers and the load share a few cores, and one server starts.
const REST: Duration = Duration::from_millis(100);
/// Longest time a payment may take, whatever happens to one node.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for calls to succeed after the nodes are back.
const RECOVERY: Duration = Duration::from_mins(1);

async fn connect(config: &CassandraConfig) -> CassandraPayments {
    CassandraPayments::connect(config, Ambient::system()).await.expect("connects")
}

async fn migrated(ring: &TestCluster) -> CassandraConfig {
    // Quorum listings see every acknowledged write, so a payment missing there is lost.
    let config = CassandraConfig { listings: ListingReads::Quorum, ..ring.config() };
    CassandraPayments::migrate(&config, &Ambient::system()).await.expect("migrates");
    config
}

/// Workers that pay orders through two sessions until told to stop; they retry failed calls, as jobs do.
struct Load {
    stop: Arc<AtomicBool>,
    progress: watch::Sender<usize>,
    errors: AtomicUsize,
    stores: [Arc<CassandraPayments>; 2],
    ambient: Ambient,
    merchant: MerchantId,
}

/// The answers that two rival workers got about one payment.
struct Told {
    id: PaymentId,
    answers: Vec<(Decision, Decided)>,
}

impl Load {
    fn new(stores: [Arc<CassandraPayments>; 2]) -> Self {
        let ambient = Ambient::system();
        let merchant = MerchantId::fresh(&ambient);
        let (stop, progress) = (Arc::default(), watch::Sender::default());
        Self { stop, progress, errors: AtomicUsize::default(), stores, ambient, merchant }
    }

    async fn work(self: Arc<Self>) -> Vec<Told> {
        let mut told = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let paid = timeout(PATIENCE, self.pay()).await;
            told.push(paid.expect("a payment is through in time"));
            self.progress.send_modify(|done| *done += 1);
            sleep(self.ambient.jitter(REST)).await;
        }
        told
    }

    async fn pay(&self) -> Told {
        let new = new_payment(&self.ambient, self.merchant);
        let opened = self.insist(|store| open(store, new.clone())).await;
        assert_eq!((opened.amount_minor, opened.created_at), (1000, new.at));
        let rivals = [self.rival(&new, 0), self.rival(&new, 1)];
        let answers = futures::future::join_all(rivals).await.into_iter().flatten().collect();
        Told { id: new.id, answers }
    }

    async fn rival(&self, new: &NewPayment, number: usize) -> Option<(Decision, Decided)> {
        let (id, at) = (new.id, new.at);
        let begun = self.insist(|store| async move { store.begin_attempt(id, "w", at).await }).await;
        let Begun::Attempt { epoch } = begun else { return None };
        let decision = capture(&format!("ch_{number}_{id}"));
        let mine = decision.clone();
        let decided = self.insist(|store| {
            let mine = mine.clone();
            async move { store.record_decision(id, epoch, mine, at).await }
        });
        Some((decision, decided.await))
    }

    /// Retries a call until it is answered, alternating between the sessions.
    async fn insist<T, F>(&self, call: impl Fn(Arc<CassandraPayments>) -> F) -> T
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut turn = self.progress.borrow().to_owned();
        loop {
            match call(either(&self.stores, turn)).await {
                Ok(answer) => return answer,
                Err(error) if error.class().is_transient() => {
                    self.errors.fetch_add(1, Ordering::Relaxed);
                    sleep(self.ambient.jitter(Duration::from_millis(200))).await;
                }
                Err(damaged) => panic!("{damaged}"),
            }
            turn += 1;
        }
    }

    async fn until_more(&self, payments: usize) {
        let mut progress = self.progress.subscribe();
        let goal = *progress.borrow() + payments;
        progress.wait_for(|done| *done >= goal).await.expect("the load goes on");
    }
}

async fn open(store: Arc<CassandraPayments>, new: NewPayment) -> Result<store::domain::Payment, StoreError> {
    store.open_payment(new).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_under_load_loses_nothing_and_decides_nothing_twice() {
    let Some(ring) = TestCluster::take().await else { return };
    let config = migrated(&ring).await;
    let load = Arc::new(Load::new([Arc::new(connect(&config).await), Arc::new(connect(&config).await)]));
    let mut workers: JoinSet<Vec<Told>> = (0..WORKERS).map(|_| Arc::clone(&load).work()).collect();
    // A panic in a worker must end the test, not hang it.
    let story = async {
        load.until_more(100).await;
        ring.kill(2);
        load.until_more(200).await;
        let (errors_down, began) = (load.errors.load(Ordering::Relaxed), Instant::now());
        ring.up().await;
        load.until_more(100).await;
        println!(
            "calls that had to be repeated while a node was down: {errors_down}; back in {:?}",
            began.elapsed()
        );
    };
    tokio::select! {
        () = story => {}
        Some(ended) = workers.join_next() => panic!("a worker ended early: {:?}", ended.err()),
    }
    load.stop.store(true, Ordering::Relaxed);
    let told: Vec<Told> = workers.join_all().await.into_iter().flatten().collect();
    println!("{} payments, {} calls repeated in all", told.len(), load.errors.load(Ordering::Relaxed));
    verify(&connect(&config).await, &load, told).await;
}

/// The rivals' answers are consistent with each other, and everything they were told is stored.
async fn verify(store: &CassandraPayments, load: &Load, told: Vec<Told>) {
    let listed = listed(store, load).await;
    assert_eq!(listed.len(), told.len(), "every payment is listed");
    for Told { id, answers } in told {
        assert_eq!(listed.get(&id), Some(&1), "{id} is listed once");
        let payment = store.payment(id).await.expect("reads").expect("is stored");
        let standing = payment.decision.expect("the newest attempt decided");
        let recorded: Vec<_> = answers.iter().filter(|(_, told)| *told == Decided::Recorded).collect();
        assert!(recorded.len() <= 1, "{id} was decided twice: {answers:?}");
        for (mine, answer) in &answers {
            match answer {
                Decided::Recorded => assert_eq!(*mine, standing, "{id}"),
                Decided::Already(decision) => assert_eq!(*decision, standing, "{id}"),
                Decided::Stale { current_epoch } => assert!(*current_epoch <= payment.epoch, "{id}"),
                Decided::NotFound => panic!("{id} was open"),
            }
        }
        let Decision::Captured { provider_reference } = standing else { panic!("{id} was captured") };
        let found = store.by_provider_reference("sandbox", &provider_reference).await.expect("reads");
        assert_eq!(found, Some(id));
        let attempts = store.attempts(id).await.expect("reads");
        assert_eq!(attempts.last().map(|attempt| attempt.epoch), Some(payment.epoch));
    }
}

async fn listed(store: &CassandraPayments, load: &Load) -> HashMap<PaymentId, usize> {
    let mut seen = HashMap::new();
    // Two days, for a test that runs over midnight.
    for day in [load.ambient.now() - Duration::from_hours(24), load.ambient.now()] {
        let mut after = None;
        loop {
            let page = store.list_by_day(load.merchant, day, after, 100).await.expect("lists");
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for entry in &page {
                *seen.entry(entry.id).or_default() += 1;
            }
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_the_majority_is_told_and_heals_by_itself() {
    let Some(ring) = TestCluster::take().await else { return };
    let config = migrated(&ring).await;
    let (store, ambient) = (connect(&config).await, Ambient::system());
    let merchant = MerchantId::fresh(&ambient);
    let before = store.open_payment(new_payment(&ambient, merchant)).await.expect("opens");

    ring.kill(2);
    ring.kill(3);
    refused(&store, new_payment(&ambient, merchant)).await;
    ring.kill(1);
    refused(&store, new_payment(&ambient, merchant)).await;
    let unreachable = CassandraPayments::connect(&config, Ambient::system()).await.err().expect("fails");
    assert!(matches!(unreachable, CassandraConnectError::Unreachable { .. }), "{unreachable:?}");
    assert!(unreachable.is_retryable());

    ring.up().await;
    let began = Instant::now();
    timeout(RECOVERY, async {
        while store.ping().await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("the same store works again");
    println!("the store works again {:?} after the nodes are back", began.elapsed());
    assert_eq!(store.payment(before.id).await.expect("reads"), Some(before));
    store.open_payment(new_payment(&ambient, merchant)).await.expect("opens");
}

/// Within the bound of a call, as an error that may be retried.
async fn refused(store: &CassandraPayments, new: NewPayment) {
    let began = Instant::now();
    let error = store.open_payment(new).await.expect_err("no majority");
    assert!(error.class().is_transient(), "{error:?}");
    println!("told after {:?}: {error}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(11));
    assert!(store.ping().await.is_err());
}
