//! File descriptors of the process: raises the limit as far as the system allows, and bounds client connections by it.
//!
//! Files, stores and outgoing calls need descriptors, too, so connections must not take the last ones.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors reserved for everything but client connections; half of all where the limit is low.
const RESERVE: u64 = 256;

/// How many of the wanted connections the process can afford; logs a warning when fewer than wanted.
pub(crate) fn connections(wanted: usize) -> usize {
    let Some(limit) = raised() else { return wanted };
    let connections = affordable(limit).min(wanted);
    if connections < wanted {
        tracing::warn!(
            file_descriptors = limit,
            wanted,
            connections,
            "fewer connections than set: raise the hard limit of file descriptors (ulimit -n, LimitNOFILE)"
        );
    }
    connections
}

/// The soft limit after raising it to the hard limit; `None` without a limit.
fn raised() -> Option<u64> {
    let limits = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits });
    if raised.is_ok() { limits.maximum } else { limits.current }
}

fn affordable(limit: u64) -> usize {
    let rest = limit - RESERVE.min(limit / 2);
    usize::try_from(rest).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept() {
        assert_eq!([1, 200, 1024, 1_048_576].map(affordable), [1, 100, 768, 1_048_320]);
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raised(), hard);
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }
}
