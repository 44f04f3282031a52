//! Command `control move-merchant`: moves a merchant to another shard while both are in use. Can be interrupted and run
//! again.

use std::{fmt::Write as _, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use base::Ambient;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use store_postgres::merchant_migration::{Migrator, MoveOptions, MovePreview, MoveReport, Step};

use crate::{cli::MoveArgs, config::Config, output};

/// Refresh interval of the spinner.
const TICK: Duration = Duration::from_millis(200);

pub(super) async fn run(args: MoveArgs, config: &Config, as_json: bool) -> anyhow::Result<ExitCode> {
    let shards = config.engines.orders.shard_pools("orderworks move-merchant", 1);
    let shards = shards
        .context("orders are kept in one database: there are no shards.urls to move a merchant between")?;
    let options = MoveOptions { keep_source: args.keep_source, ..MoveOptions::default() };
    let mover = Migrator::new(shards, args.merchant, args.to, options, Ambient::system())?;
    if args.dry_run {
        preview(&mover.preview().await?, as_json)?;
    } else if args.abort {
        let bar = spinner();
        let home = mover.abort(&|step| show(&bar, &step)).await?;
        bar.finish_and_clear();
        let found = json!({ "merchant": args.merchant, "aborted": true, "shard": home });
        output::answer(as_json, &found, || format!("{} lives on {home}; the copy is gone\n", args.merchant))?;
    } else {
        report(&carry_out(&mover).await?, as_json)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the move. On a stop signal it makes the merchant writable again before it returns.
async fn carry_out(mover: &Migrator) -> anyhow::Result<MoveReport> {
    let bar = spinner();
    let progress = |step| show(&bar, &step);
    let moved = tokio::select! {
        moved = mover.run(&progress) => Some(moved),
        stopped = tokio::signal::ctrl_c() => {
            stopped.context("cannot listen for signals")?;
            None
        }
    };
    bar.finish_and_clear();
    let Some(moved) = moved else {
        mover
            .open_fence()
            .await
            .context("stopped, and the merchant may not be writable: run the command again")?;
        bail!("stopped; run the command again to go on, or with --abort to undo it");
    };
    Ok(moved?)
}

fn preview(preview: &MovePreview, as_json: bool) -> anyhow::Result<()> {
    let from = preview.from.as_deref().unwrap_or(&preview.to);
    let mut said =
        format!("{} from {from} to {}; begins with: {}\n", preview.merchant, preview.to, preview.next);
    for (table, rows) in &preview.rows {
        writeln!(said, "{table:<18} {rows:>10} rows")?;
    }
    writeln!(said, "{} messages wait to be sent", preview.unsent)?;
    output::answer(as_json, preview, || said)
}

fn report(report: &MoveReport, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::json(report);
    }
    let Some(from) = &report.from else {
        return output::text(&format!("{} lives on {} already\n", report.merchant, report.to));
    };
    if !report.tables.is_empty() {
        let headings = ["TABLE", "ROWS", "COPIED LAST", "SHA-256, EQUAL IN BOTH"];
        output::list(false, &report.tables, headings, |table| {
            [table.table.to_owned(), table.rows.to_string(), table.copied.to_string(), table.digest.clone()]
        })?;
    }
    output::text(&format!(
        "{} moved from {from} to {}: {} ms without writes, {} rows deleted on {from}\n",
        report.merchant, report.to, report.fenced_ms, report.deleted
    ))
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

/// Shows the current step on standard error, and logs it once: without a terminal the log is all there is.
fn show(bar: &ProgressBar, step: &Step) {
    let said = match step {
        Step::Preparing => "making the target ready".to_owned(),
        Step::Copying(table) => format!("copying {table}"),
        Step::Fencing => "waiting for writes under way".to_owned(),
        Step::Draining(messages) => format!("{messages} messages wait to be sent"),
        Step::Comparing(table) => format!("comparing {table}"),
        Step::Leaving | Step::Arriving => "handing over".to_owned(),
        Step::Settling => "handed over; giving processes time to notice".to_owned(),
        Step::Clearing(table) => format!("deleting {table}"),
        _ => return,
    };
    if bar.message() != said {
        tracing::debug!(step = %said, "moving a merchant");
        bar.set_message(said);
    }
}
