//! The gateway's beacon on its network. Whether there is one, and what it says, the core decides.

use std::{env, net::SocketAddr};

use clawgate_core::{
    config::{ConfigFile, EnvVars},
    discovery::{Situation, decide},
    policy::TlsFingerprint,
};
use clawgate_smol::mdns::Advertiser;
use tracing::{info, warn};

use super::facts;

/// Begins to advertise, if that is decided. A gateway that cannot is complete all the same.
pub(super) fn advertise(
    file: &ConfigFile,
    env: &EnvVars,
    listening: &[SocketAddr],
    tls: Option<&TlsFingerprint>,
) -> Option<Advertiser> {
    // Whoever listens on several addresses is known by the one that most can reach.
    let widest =
        |address: &&SocketAddr| (address.ip().is_unspecified(), !address.ip().is_loopback());
    let address = *listening.iter().max_by_key(widest)?;
    let machine = gethostname::gethostname();
    let program = env::current_exe().ok();
    let program = program.as_ref().map(|path| path.to_string_lossy());
    let decided = decide(&Situation {
        mode: file.config.discovery.mdns,
        env,
        surroundings: facts::surroundings(),
        listening: address.ip(),
        port: address.port(),
        tls,
        machine: &machine.to_string_lossy(),
        program: program.as_deref(),
    });
    let beacon = match decided {
        Ok(beacon) => beacon,
        Err(withheld) => {
            info!(why = withheld.as_str(), "not advertised by mdns");
            return None;
        }
    };
    match Advertiser::start(&beacon) {
        Ok(advertiser) => {
            info!(
                name = beacon.instance,
                host = beacon.host,
                "advertised by mdns"
            );
            Some(advertiser)
        }
        Err(error) => {
            warn!(%error, "not advertised: clients have to be told the address");
            None
        }
    }
}
