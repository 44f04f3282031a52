//! Command `inspect limits`: keys of limits in use, from the rows that worker processes keep in the job store.

use anyhow::Result;
use base::{Ambient, Timestamp};
use jobs::job_store::{LIMITS_LISTED_MAX, LimitFilter, LimitInUse, SharedLimits};

use crate::{
    config::Config,
    output::{self, age, one_line},
    wiring::open_reports,
};

/// Most keys listed.
const KEYS_MAX: usize = 10_000;

pub(super) async fn show(config: &Config, name: Option<String>, as_json: bool) -> Result<()> {
    let ambient = Ambient::system();
    // Where the queue is in a file, there is no job store before the first worker.
    let used = match open_reports(&config.engines, &ambient).await? {
        Some(store) => all(store.as_ref(), name).await?,
        None => Vec::new(),
    };
    let now = ambient.now();
    let headings = ["LIMIT", "KEY", "LEASED", "WORKERS", "STARTS", "PARKED", "OLDEST"];
    output::list(as_json, &used, headings, |used| {
        [
            one_line(Some(&used.limit)),
            one_line(Some(&used.key)),
            used.leased.to_string(),
            used.holders.to_string(),
            used.starts.to_string(),
            used.parked.to_string(),
            used.oldest_parked_at.map_or_else(|| "-".to_owned(), |at: Timestamp| age(now, at)),
        ]
    })?;
    if used.len() < KEYS_MAX {
        return Ok(());
    }
    output::note(as_json, &format!("the first {KEYS_MAX} keys; --name shows those of one limit"))
}

async fn all(store: &dyn SharedLimits, name: Option<String>) -> Result<Vec<LimitInUse>> {
    let mut filter = LimitFilter { limit: name, after: None, most: LIMITS_LISTED_MAX };
    let mut used = Vec::new();
    while used.len() < KEYS_MAX {
        let page = store.limits_in_use(&filter).await?;
        let Some(last) = page.last() else { break };
        filter.after = Some((last.limit.clone(), last.key.clone()));
        used.extend(page);
    }
    Ok(used)
}
