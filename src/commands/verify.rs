//! Command `verify`: the audit across all stores, on demand. Works with running processes and without them.
//!
//! Violations are printed as they are found, with `--json` one object per line; the last line is the summary. The
//! progress bar, on a terminal only, shows the span of time covered: orders are scanned by the time of placement.

use std::{net::SocketAddr, process::ExitCode};

use base::Ambient;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};
use workers::verify::{Plan, Scope, Summary, Verify, Violation, Watch};

use crate::{
    cli::VerifyArgs, config::Config, output, provider::with_ledger, sandbox::Sandbox, wiring::open_audit,
};

/// Steps of the progress bar.
const STEPS: u64 = 1000;
const STEPS_F: f64 = 1000.0;

/// Exit status 0 without violations, 1 with violations, repaired or not. An audit that cannot run is an error.
pub(super) async fn run(args: VerifyArgs, config: &Config, as_json: bool) -> anyhow::Result<ExitCode> {
    let ambient = Ambient::system();
    let (verify, sandbox) = open(config, &ambient).await?;
    let scope = match (args.full, args.since) {
        (true, _) => Scope::Full,
        (false, Some(span)) => Scope::Since(span),
        (false, None) => Scope::Changed,
    };
    let plan = Plan { scope, grace: args.grace.unwrap_or(config.verify_grace), repair: args.repair };
    let mut printer = Printer { as_json, bar: bar()?, failed: None };
    let outcome = verify.run(plan, &mut printer).await;
    printer.bar.finish_and_clear();
    if let Some(sandbox) = sandbox {
        sandbox.stop().await?;
    }
    let summary = outcome?;
    printer.failed.map_or(Ok(()), Err)?;
    sum_up(&summary, plan, as_json)?;
    Ok(if summary.total() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The audit with the provider's ledger, and the sandbox that serves it, if any.
pub(super) async fn open(config: &Config, ambient: &Ambient) -> anyhow::Result<(Verify, Option<Sandbox>)> {
    let mut verify = open_audit(config, ambient).await?;
    let sandbox = local_sandbox(config, ambient).await?;
    verify.provider = with_ledger(&config.payments, sandbox.as_ref(), ambient)?;
    Ok((verify, sandbox))
}

/// Without a configured provider, and for a folder in which `dev` has run, a sandbox over the same ledger.
async fn local_sandbox(config: &Config, ambient: &Ambient) -> anyhow::Result<Option<Sandbox>> {
    let folder = &config.folder;
    if config.payments.provider_url.is_some() || !folder.join("provider.db").exists() {
        return Ok(None);
    }
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    Sandbox::start(address, folder, None, ambient).await.map(Some)
}

fn bar() -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("auditing {wide_bar} {percent}% {msg}")?;
    Ok(ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr()).with_style(style))
}

struct Printer {
    as_json: bool,
    bar: ProgressBar,
    failed: Option<anyhow::Error>,
}

impl Watch for Printer {
    fn violation(&mut self, violation: &Violation) {
        let printed = self.bar.suspend(|| {
            if self.as_json { output::json(&as_value(violation)) } else { output::text(&in_words(violation)) }
        });
        if let Err(error) = printed {
            self.failed.get_or_insert(error);
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of one, in steps")]
    fn progress(&mut self, orders: u64, part: Option<f64>) {
        self.bar.set_message(format!("{orders} orders"));
        self.bar.set_position((part.unwrap_or(0.0).clamp(0.0, 1.0) * STEPS_F) as u64);
    }
}

fn as_value(violation: &Violation) -> Value {
    let ids: Map<String, Value> =
        violation.ids.iter().map(|(kind, id)| ((*kind).to_owned(), json!(id))).collect();
    json!({
        "object": "violation",
        "code": violation.code,
        "invariant": violation.code.invariant(),
        "ids": ids,
        "found": violation.found,
        "repair": { "action": violation.repair.describe(), "safe": violation.repair.is_safe() },
        "repaired": violation.repaired,
    })
}

fn in_words(violation: &Violation) -> String {
    let ids: Vec<String> = violation.ids.iter().map(|(kind, id)| format!("{kind} {id}")).collect();
    let done = match (violation.repaired, violation.repair.is_safe()) {
        (true, _) => "repaired",
        (false, true) => "repair",
        (false, false) => "for people",
    };
    let (code, invariant) = (violation.code, violation.code.invariant().as_str());
    let repair = violation.repair.describe();
    format!("{invariant} {code}: {}: {}\n   {done}: {repair}\n", ids.join(", "), violation.found)
}

fn sum_up(summary: &Summary, plan: Plan, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::json(&json!({
            "object": "summary",
            "scope": match plan.scope { Scope::Full => "full", Scope::Since(_) => "since", Scope::Changed => "changed" },
            "orders": summary.orders,
            "open": summary.open,
            "payments": summary.payments,
            "ledger": summary.ledger,
            "products": summary.products,
            "violations": summary.total(),
            "by_code": summary.violations,
            "repaired": summary.repaired,
        }));
    }
    let Summary { orders, open, payments, products, repaired, .. } = summary;
    let ledger = match summary.ledger {
        Some(entries) => format!("{entries} ledger entries"),
        None => "no ledger".to_owned(),
    };
    let looked =
        format!("{orders} orders ({open} under way), {payments} payments, {ledger}, {products} products");
    match summary.total() {
        0 => output::text(&format!("nothing is wrong: {looked}\n")),
        total => output::text(&format!("{total} violations, {repaired} repaired: {looked}\n")),
    }
}
