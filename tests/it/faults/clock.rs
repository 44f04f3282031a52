//! Clocks of processes, given by libfaketime: wrong from the start, or stepped while a process is suspended.
//!
//! Guarantees: only the time of day differs; like a step of the system's clock, it leaves the monotonic clock alone. A
//! process that was suspended for more than ten seconds has the new time from its first look at the clock on; one that
//! runs notices a change within ten seconds.

use std::path::{Path, PathBuf};

/// Environment variable with the path of libfaketime(1), which gives a process another time.
const FAKETIME: &str = "ORDERWORKS_TEST_FAKETIME";

/// A clock that can be stepped: a file, which the library reads again after ten seconds.
pub(super) struct SteppedClock(PathBuf);

impl SteppedClock {
    /// A clock that is right, kept in this folder.
    pub(super) fn new(folder: &Path) -> Self {
        let clock = Self(folder.join("clock"));
        clock.set(0);
        clock
    }

    /// Sets by how many seconds it is ahead.
    pub(super) fn set(&self, seconds: i64) {
        // Replaced as a whole, so that no process reads a part of it.
        let next = self.0.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n")).expect("writes the clock");
        std::fs::rename(&next, &self.0).expect("replaces the clock");
    }

    /// Settings of a process with this clock.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        settings("FAKETIME_TIMESTAMP_FILE", self.0.to_str().expect("UTF-8"))
    }
}

/// Settings of a process whose clock is so many seconds ahead. They take precedence over those of a [`SteppedClock`].
pub(super) fn ahead(seconds: i64) -> Vec<(String, String)> {
    settings("FAKETIME", &format!("{seconds:+}"))
}

fn settings(key: &str, value: &str) -> Vec<(String, String)> {
    let library = std::env::var(FAKETIME).expect("set by ops/faults");
    let settings = [("LD_PRELOAD", library.as_str()), (key, value), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}
