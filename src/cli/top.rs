//! Arguments of `top`.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Seconds from one look to the next, 1 to 60
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) every: u32,
    /// Print one frame as plain text and end, as also happens where standard output is no terminal
    #[arg(long)]
    pub(crate) once: bool,
}
