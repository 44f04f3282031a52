//! Processor time of processes, read from `/proc/PID/stat` (proc(5)).

use std::{fs, path::Path};

use anyhow::Context;

/// Milliseconds of user and system time.
pub(crate) type Spent = f64;

/// Milliseconds per clock tick: `USER_HZ` is 100 on every Linux this runs on.
const TICK_MS: f64 = 10.0;

/// Processor time of a server and all its children, including those that have ended.
pub(crate) fn of_server(pids: &Path, server: &str) -> anyhow::Result<Spent> {
    let file = pids.join(format!("{server}.pid"));
    let told = || format!("{} names no process", file.display());
    let text = fs::read_to_string(&file).with_context(told)?;
    let root: u32 = text.split_whitespace().next().and_then(|pid| pid.parse().ok()).with_context(told)?;
    let mut ticks = Stat::read(root).with_context(told)?.whole();
    let mut family = vec![root];
    while let Some(parent) = family.pop() {
        // The kernel lists children by thread; a child that ended meanwhile is included in its parent's sum.
        for task in fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
                ticks += Stat::read(child).map_or(0.0, |stat| stat.whole());
                family.push(child);
            }
        }
    }
    Ok(ticks * TICK_MS)
}

/// Processor time of one process without its children.
pub(crate) fn of_process(pid: u32) -> anyhow::Result<Spent> {
    Ok(Stat::read(pid).with_context(|| format!("process {pid} has ended"))?.own * TICK_MS)
}

struct Stat {
    own: f64,
    ended_children: f64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command's name may hold blanks and brackets, so fields are counted after it; the first one there, the
        // state, is field 3.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self { own: field(14)? + field(15)?, ended_children: field(16)? + field(17)? })
    }

    fn whole(&self) -> f64 {
        self.own + self.ended_children
    }
}
