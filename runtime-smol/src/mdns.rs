//! Multicast DNS, as [`clawgate_core::discovery`] decides: a gateway's beacon, and listening for others.
//!
//! The responder has a thread of its own, so nothing here touches the executor.

use std::{
    fmt,
    net::IpAddr,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use clawgate_core::discovery::{Beacon, Network, Resolved, SERVICE, Sighting};
use mdns_sd::{DaemonEvent, IfKind, ServiceDaemon, ServiceEvent, ServiceInfo};
use tracing::warn;

/// How long the end waits for the goodbye to leave.
const GOODBYE: Duration = Duration::from_secs(1);

/// Multicast is not possible here.
#[derive(Debug, thiserror::Error)]
#[error("multicast DNS: {0}")]
pub struct MdnsError(#[from] mdns_sd::Error);

/// A beacon on the network. Dropping it says goodbye, so that nobody goes on showing the gateway.
pub struct Advertiser {
    daemon: ServiceDaemon,
    fullname: String,
}

impl Advertiser {
    /// Begins to advertise. Conflicts of names are resolved by a number behind the name; names and
    /// failures after the start go to the log.
    ///
    /// # Errors
    /// When the responder cannot be started, or does not accept the beacon.
    pub fn start(beacon: &Beacon) -> Result<Self, MdnsError> {
        let mut info = ServiceInfo::new(
            SERVICE,
            &beacon.instance,
            &beacon.host,
            (),
            beacon.port,
            &*beacon.txt,
        )?;
        let daemon = ServiceDaemon::new()?;
        // The listener is IPv4 beyond this machine, and this machine needs no beacon.
        daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6, IfKind::IPv6])?;
        info = info.enable_addr_auto();
        if let Network::Of(address) = beacon.network {
            info.set_interfaces(vec![IfKind::Addr(address)]);
        }
        let fullname = info.get_fullname().to_owned();
        let events = daemon.monitor()?;
        std::thread::Builder::new()
            .name("mdns-events".into())
            .spawn(move || {
                // Ends with the responder.
                while let Ok(event) = events.recv() {
                    match event {
                        DaemonEvent::NameChange(change) => {
                            warn!(
                                from = change.original,
                                to = change.new_name,
                                "mdns: the name was taken"
                            );
                        }
                        DaemonEvent::Error(error) => warn!(%error, "mdns"),
                        DaemonEvent::Announce(..)
                        | DaemonEvent::IpAdd(_)
                        | DaemonEvent::IpDel(_)
                        | DaemonEvent::Respond(_)
                        | _ => {}
                    }
                }
            })
            .map_err(|error| mdns_sd::Error::Msg(error.to_string()))?;
        daemon.register(info)?;
        Ok(Self { daemon, fullname })
    }
}

impl Drop for Advertiser {
    fn drop(&mut self) {
        if let Ok(told) = self.daemon.unregister(&self.fullname) {
            let _ = told.recv_timeout(GOODBYE);
        }
        if let Ok(ended) = self.daemon.shutdown() {
            let _ = ended.recv_timeout(GOODBYE);
        }
    }
}

impl fmt::Debug for Advertiser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Advertiser")
            .field("fullname", &self.fullname)
            .finish_non_exhaustive()
    }
}

/// Asks the network for gateways, and tells what is heard for so long, or until that is enough.
///
/// # Errors
/// When the responder cannot be started.
pub fn browse(
    time: Duration,
    mut heard: impl FnMut(Sighting) -> ControlFlow<()>,
) -> Result<(), MdnsError> {
    let end = Instant::now() + time;
    let daemon = ServiceDaemon::new()?;
    let events = daemon.browse(SERVICE)?;
    while let Ok(event) = events.recv_deadline(end) {
        let sighting = match event {
            ServiceEvent::ServiceResolved(service) => Sighting::Resolved(resolved(&service)),
            ServiceEvent::ServiceRemoved(_, fullname) => Sighting::Gone(fullname),
            ServiceEvent::SearchStarted(_)
            | ServiceEvent::ServiceFound(..)
            | ServiceEvent::SearchStopped(_)
            | _ => continue,
        };
        if heard(sighting).is_break() {
            break;
        }
    }
    if let Ok(ended) = daemon.shutdown() {
        let _ = ended.recv_timeout(GOODBYE);
    }
    Ok(())
}

fn resolved(service: &mdns_sd::ResolvedService) -> Resolved {
    Resolved {
        fullname: service.fullname.clone(),
        host: service.host.clone(),
        port: service.port,
        addresses: service
            .addresses
            .iter()
            .map(|address| address.to_ip_addr())
            .collect::<Vec<IpAddr>>(),
        txt: service
            .txt_properties
            .iter()
            .map(|entry| {
                let value = entry.val().unwrap_or_default().to_vec();
                (entry.key().to_owned(), value)
            })
            .collect(),
    }
}
