//! Commands, one file each. A command reads the configuration, does its work, and prints the result to standard output.

mod bench;
mod config;
mod control;
mod customers;
mod dev;
mod inspect;
mod limits;
mod merchant_hooks;
mod merchants;
mod migrate;
mod move_merchant;
mod operations;
mod payloads;
mod payment;
mod processes;
mod redrive;
mod role;
mod running;
mod sale;
mod schedules;
mod settle;
mod top;
mod verify;

use std::process::ExitCode;

use crate::{
    cli::{Cli, Command, DevArgs},
    config::Config,
};

/// Name of the program in the traces that the command records: services of their own for the roles of a deployment.
pub(crate) const fn service(command: Option<&Command>) -> &'static str {
    match command {
        Some(Command::Worker(_)) => "orderworks-worker",
        Some(Command::Api(_)) => "orderworks-api",
        Some(Command::Relay(_)) => "orderworks-relay",
        Some(Command::Scheduler(_)) => "orderworks-scheduler",
        Some(Command::Console(_)) => "orderworks-console",
        _ => "orderworks",
    }
}

/// Runs the command; `dev` by default.
pub(crate) async fn run(cli: Cli, config: Config) -> anyhow::Result<ExitCode> {
    let json = cli.global.json;
    match cli.command.unwrap_or_else(|| Command::Dev(DevArgs::default())) {
        Command::Dev(args) => Box::pin(dev::run(args, config, json)).await?,
        Command::Worker(args) => Box::pin(role::worker(args, config)).await?,
        Command::Api(args) => Box::pin(role::api(args, config)).await?,
        Command::Relay(args) => Box::pin(role::relay(args, config)).await?,
        Command::Scheduler(args) => Box::pin(role::scheduler(args, config)).await?,
        Command::Console(args) => Box::pin(role::console(args, config)).await?,
        Command::Sandbox(args) => role::sandbox(args, config).await?,
        Command::Migrate(args) => migrate::run(args, &config, json).await?,
        Command::Merchant(what) => merchants::merchant(what, &config, json).await?,
        Command::Key(what) => merchants::key(what, &config, json).await?,
        Command::Inspect(what) => inspect::run(what, &config, json).await?,
        Command::Top(args) => Box::pin(top::run(args, &config, json)).await?,
        Command::Control(what) => return control::run(what, &config, json).await,
        Command::Redrive(args) => redrive::run(args, &config, json).await?,
        Command::Jobs(what) => return payloads::run(what, &config, json).await,
        Command::Verify(args) => return verify::run(args, &config, json).await,
        Command::Bench(args) => bench::run(args, json).await?,
        Command::Config(what) => config::run(&what, &config, json)?,
    }
    Ok(ExitCode::SUCCESS)
}
