//! Machine and revision that figures were measured on.

use std::{fmt, fs, process::Command};

use serde::Serialize;

/// Processor, cores and memory.
#[derive(Debug, Serialize)]
pub struct Machine {
    processor: String,
    cores: usize,
    memory_mib: u64,
}

impl Machine {
    /// Reads the machine from the kernel; a missing value is `unknown` or zero.
    pub fn read() -> Self {
        let processor =
            field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { processor, cores, memory_mib: kib("/proc/meminfo", "MemTotal") / 1024 }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} cores, {} MiB", self.processor, self.cores, self.memory_mib)
    }
}

/// Resident memory of a process in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    kib(&format!("/proc/{pid}/status"), "VmRSS")
}

/// Highest resident memory of a process so far, in KiB.
pub fn peak_kib(pid: u32) -> u64 {
    kib(&format!("/proc/{pid}/status"), "VmHWM")
}

/// The checked-out revision, if this runs in a checkout.
pub fn revision() -> String {
    let answer = Command::new("git").args(["describe", "--always", "--dirty"]).output().ok();
    let text = answer.filter(|a| a.status.success()).and_then(|a| String::from_utf8(a.stdout).ok());
    text.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn kib(path: &str, name: &str) -> u64 {
    let text = field(path, name).unwrap_or_default();
    text.trim_end_matches(" kB").parse().unwrap_or_default()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}
