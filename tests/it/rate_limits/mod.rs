//! Rate limits over several API processes that share a Redis: whatever callers do, all processes together never allow
//! more than the quota; without the Redis each process applies it alone. Every limit of the API is flooded; its quota
//! and its callers are in the [`table`].

mod shops;
mod table;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use base::{Ambient, testing::Proxy};
use futures::future::join_all;

use self::{
    shops::{CALLERS, Caller, Shops},
    table::{LEFT_OUT, Limit, QUOTAS, limits},
};
use crate::util::{Dev, PATIENCE, TestServers, alone, fetch, ready};

const URL: &str = "ORDERWORKS_TEST_REDIS_URL";
const PROCESSES: usize = 4;
/// Limits that are flooded again without the Redis: of reads, of writes, of invalid orders. What they count needs no
/// Redis otherwise.
const APART: [&str; 3] = ["read-key", "write-key", "checkout-invalid"];

/// Requests of one flood, so far.
#[derive(Default)]
struct Tally {
    passed: AtomicU32,
    /// By the limit that is flooded.
    refused: AtomicU32,
}

/// What a flood was allowed.
#[derive(Debug)]
struct Allowed {
    passed: u32,
    /// The most that one quota allows in the time of the flood.
    quota: u32,
}

/// Calls one process until the time is over and the limit has refused, at a pace that the seed decides.
async fn flood(limit: &Limit, caller: &Caller, seed: u64, began: Instant, tally: &Tally) {
    let mut random = fastrand::Rng::with_seed(seed);
    for n in 0.. {
        let elapsed = began.elapsed();
        let is_over = elapsed >= limit.flood();
        if is_over && (tally.refused.load(Ordering::Relaxed) > 0 || elapsed >= PATIENCE) {
            return;
        }
        match caller.call(limit, &format!("{seed}-{n}")).await {
            None => _ = tally.passed.fetch_add(1, Ordering::Relaxed),
            Some(name) if name == limit.name => _ = tally.refused.fetch_add(1, Ordering::Relaxed),
            Some(other) => assert!(limit.beside.contains(&other.as_str()), "{}: {other}", limit.name),
        }
        // Bursts and pauses: a caller's leases begin and end. None where a slow machine has not used the quota up yet.
        if !is_over {
            let pause = if random.u8(..) < 16 { random.u64(50..250) } else { random.u64(0..4) };
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}

/// Floods one limit by all these callers: they are allowed no more than its quota, and not far less.
async fn flooded(limit: &Limit, callers: &[Caller], seed: u64) -> Allowed {
    let (began, tally) = (Instant::now(), Tally::default());
    join_all(callers.iter().zip(seed..).map(|(caller, seed)| flood(limit, caller, seed, began, &tally)))
        .await;
    let refilled = began.elapsed().as_nanos() / limit.interval.as_nanos() + 1;
    let quota = limit.burst + u32::try_from(refilled).expect("a short flood");
    let (passed, refused) = (tally.passed.into_inner(), tally.refused.into_inner());
    assert!(refused > 0, "{}: the flood is larger than the quota", limit.name);
    assert!(passed <= quota, "{}: {passed} of {quota}, seed {seed}", limit.name);
    assert!(passed >= limit.burst / 2, "{}: {passed} of {quota}, seed {seed}", limit.name);
    Allowed { passed, quota }
}

/// Floods some limits while the processes count alone: each of them allows no more than the quota, all together do.
async fn flooded_apart(shops: &mut Shops<'_>, bases: &[String]) {
    let limits = limits();
    for name in APART {
        let limit = limits.iter().find(|limit| limit.name == name).expect("is in the table");
        let callers = shops.callers(limit, bases).await;
        let floods = callers.chunks(CALLERS).zip((1..).step_by(CALLERS));
        let allowed = join_all(floods.map(|(callers, seed)| flooded(limit, callers, seed))).await;
        let passed: u32 = allowed.iter().map(|allowed| allowed.passed).sum();
        assert!(allowed.iter().all(|alone| passed > alone.quota), "{name} is counted together: {allowed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_together_never_exceed_a_quota_and_apart_none_of_them_does() {
    let Ok(url) = std::env::var(URL) else {
        return base::testing::skip(&format!("{URL} is not set; see `ops/services up redis`"));
    };
    let _alone = alone().await;
    let Some(stage) = TestServers::open().await else { return };
    let line = Proxy::to(&url).await;
    let ambient = Ambient::system();
    // The form of name that the cleanup of the cache's own tests recognises.
    let prefix = format!("ow-test-{}-{}", ambient.now().as_millisecond(), ambient.uuid().simple());
    let by_line = line.address(&url);
    let redis = [
        ("ORDERWORKS_ENGINES_CACHE", "redis"),
        ("ORDERWORKS_REDIS_URL", by_line.as_str()),
        ("ORDERWORKS_REDIS_PREFIX", prefix.as_str()),
        ("ORDERWORKS_REDIS_COMMAND_TIMEOUT_MS", "3000"),
    ];
    let settings = [&QUOTAS[..], &redis[..]].concat();
    let started = join_all((0..PROCESSES).map(|_| stage.api(&settings))).await;
    let (roles, bases): (Vec<_>, Vec<_>) = started.into_iter().unzip();
    let mut shops = Shops::of(&stage).await;
    for (seed, limit) in (1_000..).step_by(1_000).zip(limits()) {
        let callers = shops.callers(&limit, &bases).await;
        flooded(&limit, &callers, seed).await;
    }

    line.sever();
    for base in &bases {
        ready(base.trim_start_matches("http://"), |report| report["status"] == "degraded").await;
    }
    flooded_apart(&mut shops, &bases).await;
    line.restore();
    for role in roles {
        role.stop().await;
    }
    stage.close().await;
}

/// The process tells each limit that it has, whether it has refused or not.
#[tokio::test]
async fn every_limit_is_in_the_table_or_left_out_for_a_reason() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let metrics = fetch(format!("{}/metrics", dev.ready.url)).await.text().await.expect("a text");
    let of_limit = "orderworks_rate_limited_total{limit=\"";
    let told = metrics.lines().filter_map(|line| line.strip_prefix(of_limit)?.split_once('"'));
    let told: BTreeSet<_> = told.map(|(name, _)| name).collect();
    let limits = limits();
    let rows = limits.iter().map(|limit| limit.name);
    let known: BTreeSet<_> = rows.chain(LEFT_OUT.iter().map(|(name, _)| *name)).collect();
    assert_eq!(told, known, "of the process, and of the table of this test");
    for limit in &limits {
        let unknown = limit.beside.iter().find(|name| !told.contains(**name));
        assert_eq!(unknown, None, "beside {}", limit.name);
    }
    assert!(dev.stop().await.success());
}
