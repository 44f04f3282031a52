//! Commands `inspect schedules` and `control run-schedule|pause-schedule|resume-schedule`; with or without a running
//! scheduler.

use std::{process::ExitCode, sync::Arc};

use base::Ambient;
use jobs::{job_store::Schedules, schedule::ScheduleAdmin};
use serde_json::{Value, json};

use crate::{
    cli::ScheduleControl,
    config::Config,
    output,
    wiring::{Jobs, open_job_store},
};

/// What the commands work with.
struct Opened {
    store: Arc<dyn Schedules>,
    jobs: Jobs,
    ambient: Ambient,
}

impl Opened {
    async fn beside(jobs: Jobs, config: &Config) -> anyhow::Result<Self> {
        let ambient = Ambient::system();
        Ok(Self { store: open_job_store(&config.engines, &ambient).await?, jobs, ambient })
    }

    fn admin(&self) -> ScheduleAdmin<'_> {
        ScheduleAdmin {
            store: self.store.as_ref(),
            engine: self.jobs.queue.as_ref(),
            records: self.jobs.records.as_ref(),
            ambient: &self.ambient,
        }
    }
}

pub(super) async fn show(jobs: Jobs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let opened = Opened::beside(jobs, config).await?;
    let schedules = opened.admin().list().await?;
    let headings = ["NAME", "TIMES", "STATE", "LAST RUN", "OUTCOME", "NEXT"];
    output::list(as_json, &schedules, headings, |schedule| {
        let times: Vec<String> = schedule.next.iter().map(ToString::to_string).collect();
        let outcome = schedule.last_attempt.as_ref().map(|last| last.outcome.as_str());
        [
            schedule.name.clone(),
            if schedule.error.is_some() { "?".to_owned() } else { schedule.timing.clone() },
            schedule.state().to_owned(),
            schedule.last_fire_at.map_or_else(|| "-".to_owned(), |at| at.to_string()),
            outcome.unwrap_or("-").to_owned(),
            times.join(" "),
        ]
    })?;
    for schedule in schedules {
        if let Some(error) = schedule.error {
            output::note(as_json, &format!("{}: {}", schedule.name, error.escape_debug()))?;
        }
    }
    Ok(())
}

/// An error if there is no schedule of this name; then the exit status is 1.
pub(super) async fn control(
    what: ScheduleControl,
    config: &Config,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let opened = Opened::beside(Jobs::open(&config.engines).await?, config).await?;
    let (said, answer) = act(what, opened.admin()).await?;
    output::answer(as_json, &answer, || format!("{said}\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn act(what: ScheduleControl, admin: ScheduleAdmin<'_>) -> anyhow::Result<(String, Value)> {
    Ok(match what {
        ScheduleControl::Run { name } => {
            let id = admin.run_now(&name).await?;
            (format!("{name}: published {id}"), json!({ "schedule": name, "job": id }))
        }
        ScheduleControl::Pause { name } => {
            admin.pause(&name).await?;
            (format!("{name} is paused"), json!({ "schedule": name, "paused": true }))
        }
        ScheduleControl::Resume { name } => {
            admin.resume(&name).await?;
            (format!("{name} is resumed"), json!({ "schedule": name, "paused": false }))
        }
    })
}
