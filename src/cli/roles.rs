//! Arguments of the commands that run one role.

use clap::Args;

use super::values;

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// Queues and their concurrency, instead of [workers]: payments=16,fulfilment=8
    #[arg(long, value_name = "QUEUE=N,…", value_parser = values::queue, value_delimiter = ',')]
    pub(crate) queues: Vec<(String, usize)>,
    #[command(flatten)]
    pub(crate) health: HealthArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ApiArgs {
    /// Address and port, instead of `server.listen`
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    #[command(flatten)]
    pub(crate) health: HealthArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConsoleArgs {
    /// Address and port, instead of `console.listen`
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    #[command(flatten)]
    pub(crate) health: HealthArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Serve /livez, /readyz, /metrics, and /scaling but for the API, at an address that the public must not reach
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) health: Option<std::net::SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct SandboxArgs {
    /// Address and port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8092")]
    pub(crate) listen: std::net::SocketAddr,
}
