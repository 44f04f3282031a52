//! Command `top`: queues, outbox, workers and running jobs on the terminal, live.
//!
//! Guarantees: read-only, and works beside running servers as `inspect` does; asks once in the time that was chosen,
//! however many keys are pressed, for a bounded number of rows. While a server is away the last frame stays, with its
//! age and what is away, and goes on when the server is back. The terminal is as before after every end but `kill -9`.
//! Changes nothing: that is what `control` and the console are for.
//!
//! [`look`] asks, [`frame`] lays the answer out as lines, [`view`] has what keys choose, [`live`] joins them on a
//! [`screen`].

mod frame;
mod live;
mod look;
mod screen;
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anyhow::{Error, Result};
use serde_json::json;
use tokio::time::MissedTickBehavior;

use self::look::Watched;
use crate::{cli::TopArgs, config::Config, output, signals::EndSignals};

pub(super) async fn run(args: TopArgs, config: &Config, as_json: bool) -> Result<()> {
    let TopArgs { every, once } = args;
    let every = Duration::from_secs(every.into());
    let mut watched = Box::pin(Watched::open(config)).await?;
    let is_terminal = io::stdout().is_terminal();
    if once || !(as_json || is_terminal) {
        let look = watched.look(None).await.map_err(Error::msg)?;
        let width = if is_terminal { screen::size().width } else { usize::MAX };
        return output::answer(as_json, &look, || frame::plain(&look, width));
    }
    if as_json { print_looks(watched, every).await } else { live::run(watched, every).await }
}

/// Prints a line a look until a signal comes, or until the reader has closed the pipe.
async fn print_looks(mut watched: Watched, every: Duration) -> Result<()> {
    let mut signals = EndSignals::listen()?;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = signals.received() => return Ok(()),
        }
        let line = match watched.look(None).await {
            Ok(look) => serde_json::to_string(&look)?,
            Err(away) => json!({ "at": watched.now(), "away": away }).to_string(),
        };
        let mut out = io::stdout().lock();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
}
