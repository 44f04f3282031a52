//! `orderworks`: one binary for every role. Parses the command line, reads the configuration, runs one command.
//!
//! Start with [`cli`]; engines are opened in [`wiring`], roles are started in [`roles`]; each command has its file in
//! [`commands`].

mod allocator;
mod cli;
mod commands;
mod config;
mod descriptors;
mod health;
mod housekeeping;
mod keys;
mod logging;
mod mail;
mod metrics;
mod output;
mod provider;
mod roles;
mod sandbox;
mod seed;
mod signals;
mod traces;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    wiring::make_new_files_private();
    let cli = cli::Cli::parse();
    let failure = cli.failure();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            output::complain(&error);
            failure
        }
    }
}

fn run(cli: cli::Cli) -> anyhow::Result<ExitCode> {
    let config = cli.global.config()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let recording = {
        let _within = runtime.enter();
        let service = commands::service(cli.command.as_ref());
        config.traces.as_ref().map(|traces| traces::Recording::start(traces, service)).transpose()?
    };
    logging::start(&config.log, recording.as_ref());
    let outcome = runtime.block_on(commands::run(cli, config));
    if let Some(recording) = recording {
        runtime.block_on(recording.flush());
    }
    // All tasks had time to stop. A shutdown would wait for a blocked DNS lookup, or panic the broker client's thread.
    std::mem::forget(runtime);
    outcome
}
