//! Price of the protections: shoppers' orders with all of them on, beside those of the merchant's server with none that
//! can be switched off, and beside `pgbench`.
//!
//! Both processes share a database, so both meet the same tables. While one is measured the other is stopped: what it
//! does beside requests, such as following payments, is not taken from the round of another.

use anyhow::Context;
use base::Ambient;
use bench_report::{Report, median, middle_round};

use crate::{
    args::Args,
    pgbench::Script,
    size::{CALLERS, CONNECTIONS, Size},
    stage::{BenchServers, order},
};

/// Neither Redis nor admission by backlog; orders with the secret key are not counted as attempts with stolen cards.
/// Rate limits count in the process: no setting ends that.
const OFF: [(&str, &str); 2] =
    [("ORDERWORKS_ADMISSION_ORDER_AGE_SECONDS", "0"), ("ORDERWORKS_ADMISSION_CART_AGE_SECONDS", "0")];
/// More than a run places, as all orders come from one address and one key.
const PLENTY: &str = "1000000";

pub(crate) async fn measure(args: &Args, size: &Size, report: &mut Report) -> anyhow::Result<()> {
    let stage = BenchServers::open(args).await?;
    let (plain, plain_load, merchant) = stage.api(&OFF).await?;
    let prefix = format!("ow-bench-{}", Ambient::system().uuid().simple());
    let on = [
        ("ORDERWORKS_ENGINES_CACHE", "redis"),
        ("ORDERWORKS_REDIS_URL", args.redis.as_str()),
        ("ORDERWORKS_REDIS_PREFIX", prefix.as_str()),
        ("ORDERWORKS_CARD_TESTING_SANDBOX_BOUND", PLENTY),
        ("ORDERWORKS_CHECKOUT_PER_PUBLISHABLE_KEY_PER_SECOND", PLENTY),
    ];
    let (protected, protected_load) = stage.storefront_api(merchant, &on).await?;
    for load in [&plain_load, &protected_load] {
        load.place(CALLERS, size.warm, order)?;
    }
    let script = Script::of(&stage, merchant)?;
    script.run(CONNECTIONS, size.warm)?;
    plain.pause()?;
    protected.pause()?;
    let (mut raw, mut without, mut with) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=size.rounds {
        raw.push(script.run(CONNECTIONS, size.accepted)?);
        for (api, load, rates) in
            [(&plain, &plain_load, &mut without), (&protected, &protected_load, &mut with)]
        {
            api.resume()?;
            rates.push(load.place(CALLERS, size.accepted, order)?.per_second());
            api.pause()?;
        }
        let (on, off, rounds) = (with[round - 1], without[round - 1], size.rounds);
        eprintln!("protections, round {round} of {rounds}: {on:.0} orders/s with them, {off:.0} without");
    }
    report.add("raw_pgbench_beside", median(&raw).context("no round")?, "orders/s", None);
    let (rate, limit) = middle_round(&with, &without).context("no round")?;
    report.add("accept_protected", rate, "orders/s", Some(limit));
    let (rate, limit) = middle_round(&with, &raw).context("no round")?;
    report.add("protected_vs_pgbench", rate, "orders/s", Some(limit));
    Ok(())
}
