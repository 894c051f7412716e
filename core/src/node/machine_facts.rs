//! What `device.info`, `device.status` and the host's figures say (spec protocol §8.5).

use std::time::Duration;

use serde_json::{Value, json};

use super::fields::put;

/// What does not change while a node runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The name that people know the machine by.
    pub name: String,
    /// The system, such as `linux`.
    pub system: String,
    /// Its version, where it is known.
    pub system_version: Option<String>,
    /// The machine's model or architecture.
    pub model: String,
    /// The node's version.
    pub version: String,
    /// Such as `en-US`.
    pub locale: Option<String>,
}

/// The machine at one moment. What could not be found out is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineSample {
    /// Processors.
    pub processors: usize,
    /// Load over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Main memory.
    pub memory: Option<Memory>,
    /// The disk of the home folder.
    pub disk: Option<Disk>,
    /// Since the start of the machine.
    pub uptime: Option<Duration>,
    /// The battery, if there is one.
    pub battery: Option<Battery>,
}

/// Main memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What programs could still get.
    pub free: u64,
}

/// A disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// All of it.
    pub total: u64,
    /// What this user could still write.
    pub free: u64,
}

/// A battery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Battery {
    /// How full it is, from 0 to 100.
    pub percent: u8,
    /// Whether it is being charged, where that is known.
    pub charging: Option<bool>,
}

/// `device.info`.
pub(super) fn info(facts: &DeviceFacts) -> Value {
    json!({
        "deviceName": facts.name,
        "modelIdentifier": facts.model,
        "systemName": facts.system,
        "systemVersion": facts.system_version.as_deref().unwrap_or("unknown"),
        "appVersion": facts.version,
        "appBuild": facts.version,
        "locale": facts.locale.as_deref().unwrap_or("en"),
    })
}

/// `device.status`.
pub(super) fn status(sample: &MachineSample) -> Value {
    let mut status = json!({ "cpuCount": sample.processors });
    if let Some(uptime) = sample.uptime {
        put(&mut status, "uptimeSeconds", json!(uptime.as_secs()));
    }
    if let Some(load) = finite(sample.load) {
        put(&mut status, "loadAverage", json!(load));
    }
    if let Some(Memory { total, free }) = sample.memory {
        put(
            &mut status,
            "memory",
            json!({ "totalBytes": total, "freeBytes": free.min(total) }),
        );
    }
    if let Some(Disk { total, free }) = sample.disk {
        let free = free.min(total);
        put(
            &mut status,
            "storage",
            json!({ "totalBytes": total, "freeBytes": free, "usedBytes": total - free }),
        );
    }
    if let Some(battery) = sample.battery {
        let state = match battery.charging {
            Some(true) => "charging",
            Some(false) => "unplugged",
            None => "unknown",
        };
        let level = f64::from(battery.percent.min(100)) / 100.0;
        put(
            &mut status,
            "battery",
            json!({ "level": level, "state": state }),
        );
    }
    status
}

/// `node.host.stats`; `None` where the machine does not tell its memory, which the gateway demands.
pub(super) fn host_stats(sample: &MachineSample) -> Option<Value> {
    let Memory { total, free } = sample.memory?;
    let mut stats = json!({
        "cpuCount": sample.processors.clamp(1, 4096),
        "memoryTotalBytes": total,
        "memoryFreeBytes": free.min(total),
    });
    if let Some(load) = finite(sample.load).filter(|load| load.iter().any(|one| *one > 0.0)) {
        put(&mut stats, "loadAverage", json!(load));
    }
    if let Some(Disk { total, free }) = sample.disk {
        put(&mut stats, "diskTotalBytes", json!(total));
        put(&mut stats, "diskAvailableBytes", json!(free.min(total)));
    }
    Some(stats)
}

fn finite(load: Option<[f64; 3]>) -> Option<[f64; 3]> {
    let load = load.filter(|load| load.iter().all(|one| one.is_finite()))?;
    Some(load.map(|one| one.clamp(0.0, 100_000.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stay_within_what_a_gateway_takes() {
        let sample = MachineSample {
            processors: 100_000,
            load: Some([1e9, 0.5, 0.0]),
            memory: Some(Memory {
                total: 10,
                free: 20,
            }),
            disk: Some(Disk { total: 5, free: 9 }),
            ..MachineSample::default()
        };
        let stats = host_stats(&sample).unwrap();
        assert_eq!(stats["cpuCount"], 4096);
        assert_eq!(stats["memoryFreeBytes"], 10);
        assert_eq!(stats["diskAvailableBytes"], 5);
        assert_eq!(stats["loadAverage"][0], 100_000.0);
        assert!(host_stats(&MachineSample::default()).is_none());
    }

    #[test]
    fn only_what_is_known_is_told() {
        assert_eq!(status(&MachineSample::default()), json!({ "cpuCount": 0 }));
        let sample = MachineSample {
            battery: Some(Battery {
                percent: 50,
                charging: Some(false),
            }),
            load: Some([f64::NAN, 0.0, 0.0]),
            ..MachineSample::default()
        };
        let status = status(&sample);
        assert_eq!(
            status["battery"],
            json!({ "level": 0.5, "state": "unplugged" })
        );
        assert!(status.get("loadAverage").is_none());
    }
}
