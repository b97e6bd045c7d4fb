//! What a process costs, read from `/proc` (proc(5)); where there is none, nothing is measured.

use std::fs;
use std::io;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

/// `/proc` counts time in these parts of a second for every program, whatever the kernel's own
/// clock (proc_pid_stat(5): `sysconf(_SC_CLK_TCK)`, 100 on all Linux).
const TICKS: f64 = 100.0;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What one process did from its start to its end.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Cost {
    /// From the start to the end, in seconds.
    pub(super) seconds: f64,
    /// CPU seconds, user and system.
    pub(super) cpu_seconds: f64,
    /// The most memory it had, in bytes (`VmHWM`).
    pub(super) peak_bytes: u64,
}

/// Runs a command to its end and measures it.
pub(super) fn run(command: &mut Command) -> io::Result<(ExitStatus, Cost)> {
    let started = Instant::now();
    let mut child = command.spawn()?;
    let pid = child.id();
    let mut cost = Cost::default();
    let status = loop {
        if let Some(peak) = peak_bytes(pid) {
            cost.peak_bytes = cost.peak_bytes.max(peak);
        }
        // Until its parent waits for it, a process that has ended still has its times.
        if let Some(seconds) = cpu_seconds(pid) {
            cost.cpu_seconds = cost.cpu_seconds.max(seconds);
        }
        match child.try_wait()? {
            Some(status) => break status,
            None => thread::sleep(LOOK_EVERY),
        }
    };
    cost.seconds = started.elapsed().as_secs_f64();
    Ok((status, cost))
}

/// The CPU seconds of a process, of its children that have ended, and of those that live.
pub(super) fn cpu_seconds_of_family(pid: u32) -> f64 {
    loop {
        let Some(own) = stat(pid) else { return 0.0 };
        let mut ticks = own.ticks + own.ended_children_ticks;
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let child =
                entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(stat);
            ticks += child.filter(|child| child.parent == pid).map_or(0, |child| child.ticks);
        }
        // One that ended meanwhile may be in neither of the two sums.
        if stat(pid).is_none_or(|now| now.ended_children_ticks == own.ended_children_ticks) {
            return ticks as f64 / TICKS;
        }
    }
}

fn cpu_seconds(pid: u32) -> Option<f64> {
    stat(pid).map(|stat| stat.ticks as f64 / TICKS)
}

fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    /// User and system time.
    ticks: u64,
    ended_children_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads fields 4 and 14 to 17; field 2, a name in brackets, may hold anything.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: number(4)?.try_into().ok()?,
        ticks: number(14)? + number(15)?,
        ended_children_ticks: number(16)? + number(17)?,
    })
}

/// The value in the middle; of an even number of values the mean of the two in the middle.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_values() {
        assert_eq!(median([]), 0.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0]), 2.5);
    }

    #[test]
    fn a_stat_line_with_a_hostile_name() {
        let line = "7 (a ) b) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 100";
        let expected = Stat { parent: 3, ticks: 30, ended_children_ticks: 70 };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat("7 (a"), None);
    }

    #[test]
    fn a_process_is_measured() {
        let mut command = Command::new("sleep");
        let (status, cost) = run(command.arg("0.05")).unwrap();
        assert!(status.success());
        assert!(cost.seconds >= 0.05);
        assert!(!cfg!(target_os = "linux") || cost.peak_bytes > 0);
    }
}
