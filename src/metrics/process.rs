//! Metrics of the process as the operating system accounts for it, under the names that Prometheus clients share.
//!
//! Guarantees: a figure that the system does not tell is left out; memory and files are read from `/proc`, which only
//! Linux has.

use std::fs;

use base::Timestamp;
use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter, gauge},
};

pub(super) const CPU_SECONDS: Metric =
    counter("process_cpu_seconds_total", &[], "Processor time of all threads, in user and system mode");
pub(super) const RESIDENT_BYTES: Metric =
    gauge("process_resident_memory_bytes", &[], "Memory of the process that is in RAM");
pub(super) const VIRTUAL_BYTES: Metric =
    gauge("process_virtual_memory_bytes", &[], "Address space of the process");
pub(super) const OPEN_FILES: Metric =
    gauge("process_open_fds", &[], "File descriptors in use, connections included");
pub(super) const FILES_MAX: Metric =
    gauge("process_max_fds", &[], "File descriptors that the process may have");
pub(super) const START_SECONDS: Metric =
    gauge("process_start_time_seconds", &[], "Start of the process, in seconds since the Unix epoch");

const STATUS: &str = "/proc/self/status";
const DESCRIPTORS: &str = "/proc/self/fd";

/// Registers the metrics of a process that started then.
pub(crate) fn register(metrics: &Metrics, started_at: Timestamp) {
    metrics.show(&CPU_SECONDS, || Sample::only(cpu_seconds()));
    metrics.show(&RESIDENT_BYTES, || known(bytes_of("VmRSS:")));
    metrics.show(&VIRTUAL_BYTES, || known(bytes_of("VmSize:")));
    metrics.show(&OPEN_FILES, || known(open_files()));
    metrics.show(&FILES_MAX, || known(getrlimit(Resource::Nofile).current));
    let started = started_at.as_duration().as_secs_f64();
    metrics.show(&START_SECONDS, move || Sample::only(started));
}

fn known(figure: Option<u64>) -> Vec<Sample> {
    figure.map(Sample::only).unwrap_or_default()
}

fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let whole = u32::try_from(used.tv_sec).unwrap_or(u32::MAX);
    let nanos = u32::try_from(used.tv_nsec).unwrap_or_default();
    f64::from(whole) + f64::from(nanos) / 1e9
}

/// A size of the process by its name in the kernel's report, which tells it in kibibytes.
fn bytes_of(name: &str) -> Option<u64> {
    let status = fs::read_to_string(STATUS).ok()?;
    let size = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = size.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Without the descriptor by which they are counted.
fn open_files() -> Option<u64> {
    let open = fs::read_dir(DESCRIPTORS).ok()?.count();
    u64::try_from(open.saturating_sub(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_tells_of_this_process() {
        let (resident, virt) = (bytes_of("VmRSS:").expect("told"), bytes_of("VmSize:").expect("told"));
        assert!(resident > 1024 * 1024 && virt >= resident, "{resident} {virt}");
        assert!(open_files().expect("told") > 2);
        assert!(cpu_seconds() > 0.0);
        assert_eq!(bytes_of("VmNone:"), None);
    }
}
