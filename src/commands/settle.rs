//! Command `control settle`: ends the violations of an order that a person has put right. Works whether `dev` runs or
//! not.

use std::process::ExitCode;

use anyhow::Result;
use base::Ambient;
use serde_json::json;
use store::domain::OrderId;
use workers::verify::Settled;

use super::verify;
use crate::{config::Config, output};

/// Exit status 1 if there was nothing to settle.
pub(super) async fn run(order: OrderId, note: String, config: &Config, as_json: bool) -> Result<ExitCode> {
    let ambient = Ambient::system();
    let (audit, sandbox) = verify::open(config, &ambient).await?;
    let settled = audit.settle(order, note).await;
    if let Some(sandbox) = sandbox {
        sandbox.stop().await?;
    }
    let (word, violations) = match settled? {
        Settled::Now(violations) => ("settled", violations),
        Settled::NothingWrong => ("nothing_wrong", Vec::new()),
        Settled::NotStored => ("not_found", Vec::new()),
    };
    let violations: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let answer = json!({ "order": order, "result": word, "violations": violations });
    output::answer(as_json, &answer, || {
        let lines: String = violations.iter().flat_map(|violation| ["   ", violation, "\n"]).collect();
        format!("{order}: {}\n{lines}", word.replace('_', " "))
    })?;
    Ok(if word == "settled" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
