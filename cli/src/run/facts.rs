//! Facts about the machine that the start depends on.

use std::{
    fs,
    net::{IpAddr, TcpListener, UdpSocket},
    path::Path,
};

use clawgate_core::{
    config::GatewayConfig,
    policy::bind::{HostFacts, Ipv6Loopback, Surroundings, candidates},
};

/// Reads what `gateway.bind` may depend on.
pub(crate) fn host_facts(gateway: &GatewayConfig) -> HostFacts {
    let tailnet_ipv4 = tailnet_ipv4();
    let bindable = candidates(gateway, tailnet_ipv4)
        .into_iter()
        .filter(|ip| can_bind(*ip))
        .collect();
    HostFacts {
        surroundings: surroundings(),
        tailnet_ipv4,
        bindable,
    }
}

/// Whether `::1` can be listened on.
pub(crate) fn ipv6_loopback() -> Ipv6Loopback {
    if cfg!(windows) || !can_bind(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])) {
        Ipv6Loopback::Unavailable
    } else {
        Ipv6Loopback::Bindable
    }
}

fn can_bind(ip: IpAddr) -> bool {
    TcpListener::bind((ip, 0)).is_ok()
}

/// The address that packets to the tailnet's own name server would leave from. No packet is sent.
fn tailnet_ipv4() -> Option<std::net::Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("100.100.100.100:53").ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) if matches!(ip.octets(), [100, 64..=127, _, _]) => Some(ip),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

pub(super) fn surroundings() -> Surroundings {
    let marked = [
        "/.dockerenv",
        "/run/.containerenv",
        "/var/run/.containerenv",
    ]
    .iter()
    .any(|file| Path::new(file).exists());
    let grouped = fs::read_to_string("/proc/1/cgroup").is_ok_and(|text| {
        ["docker", "containerd", "kubepods", "lxc"]
            .iter()
            .any(|word| text.contains(word))
    });
    if marked || grouped {
        Surroundings::Container
    } else {
        Surroundings::Machine
    }
}
