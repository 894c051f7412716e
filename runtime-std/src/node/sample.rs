//! A look at the machine. What the system does not tell stays unknown.

use std::{fs, path::Path, thread, time::Duration};

use clawgate_core::node::{Battery, Disk, MachineSample, Memory};

pub(super) fn sample(home: &Path) -> MachineSample {
    MachineSample {
        processors: thread::available_parallelism().map_or(1, usize::from),
        load: load(&text("/proc/loadavg")),
        memory: memory(&text("/proc/meminfo")),
        disk: disk(home),
        uptime: uptime(&text("/proc/uptime")),
        battery: battery(Path::new("/sys/class/power_supply")),
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn load(text: &str) -> Option<[f64; 3]> {
    let mut words = text.split_whitespace().map(str::parse);
    let mut next = || words.next()?.ok();
    Some([next()?, next()?, next()?])
}

fn memory(text: &str) -> Option<Memory> {
    let bytes = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    };
    Some(Memory {
        total: bytes("MemTotal:")?,
        free: bytes("MemAvailable:").or_else(|| bytes("MemFree:"))?,
    })
}

fn uptime(text: &str) -> Option<Duration> {
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(unix)]
fn disk(home: &Path) -> Option<Disk> {
    let figures = rustix::fs::statvfs(home).ok()?;
    Some(Disk {
        total: figures.f_blocks.checked_mul(figures.f_frsize)?,
        free: figures.f_bavail.checked_mul(figures.f_frsize)?,
    })
}

#[cfg(not(unix))]
fn disk(_: &Path) -> Option<Disk> {
    None
}

/// The first battery, in the order of names.
fn battery(folder: &Path) -> Option<Battery> {
    let mut supplies: Vec<_> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    supplies.sort();
    supplies.iter().find_map(|supply| {
        let read = |name: &str| fs::read_to_string(supply.join(name)).unwrap_or_default();
        if read("type").trim() != "Battery" {
            return None;
        }
        Some(Battery {
            percent: read("capacity").trim().parse().ok()?,
            charging: match read("status").trim() {
                "Charging" | "Full" => Some(true),
                "Discharging" | "Not charging" => Some(false),
                _ => None,
            },
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_what_is_odd_is_unknown() {
        assert_eq!(load("0.50 1.00 2.25 1/2 3\n"), Some([0.5, 1.0, 2.25]));
        assert_eq!(load("0.50 x"), None);
        let text = "MemTotal:       2 kB\nMemFree: 1 kB\nMemAvailable:   1 kB\n";
        let expected = Memory {
            total: 2048,
            free: 1024,
        };
        assert_eq!(memory(text), Some(expected));
        assert_eq!(memory("MemTotal: 99999999999999999999 kB"), None);
        assert_eq!(uptime("12.5 3"), Some(Duration::from_millis(12_500)));
        assert_eq!(uptime("-1"), None);
    }

    #[test]
    fn a_battery_is_found_among_other_supplies() {
        let folder = tempfile::tempdir().unwrap();
        for (supply, kind) in [("AC", "Mains"), ("BAT0", "Battery")] {
            let supply = folder.path().join(supply);
            fs::create_dir(&supply).unwrap();
            fs::write(supply.join("type"), format!("{kind}\n")).unwrap();
            fs::write(supply.join("capacity"), "42\n").unwrap();
            fs::write(supply.join("status"), "Discharging\n").unwrap();
        }
        let expected = Battery {
            percent: 42,
            charging: Some(false),
        };
        assert_eq!(battery(folder.path()), Some(expected));
        assert_eq!(battery(Path::new("/nowhere")), None);
    }
}
