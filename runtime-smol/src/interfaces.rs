//! This machine's own addresses.

use clawgate_core::policy::LocalAddresses;
use tracing::warn;

/// Lists the addresses of all interfaces as they are now. It asks the kernel and waits for nobody.
pub(crate) fn local_addresses() -> LocalAddresses {
    match if_addrs::get_if_addrs() {
        Ok(found) => LocalAddresses::Known(found.iter().map(if_addrs::Interface::ip).collect()),
        Err(error) => {
            warn!(%error, "cannot list this machine's addresses: trusted proxies are refused");
            LocalAddresses::Unavailable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_them() {
        let LocalAddresses::Known(found) = local_addresses() else {
            panic!("no addresses");
        };
        assert!(found.iter().any(std::net::IpAddr::is_loopback), "{found:?}");
    }
}
