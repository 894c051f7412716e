//! The command that looks for gateways, as it is typed.

use std::time::Duration;

use clap::Args;

use crate::args::timeout;

pub(crate) const DISCOVER: &str = "\
Listens on the networks of this machine for gateways that advertise themselves by mDNS. Whoever is on
the network can say anything there, so what is found is a hint: no credential is sent anywhere, and
no fingerprint is pinned. The URLs come from service and address records, never from TXT keys.

Compare the fingerprint with what `clawgate gateway status` prints on the gateway's own machine before
you give a token to the URL.

Examples:
  clawgate discover
  clawgate discover --watch
  clawgate discover --timeout 5000 --json";

#[derive(Args, Debug)]
pub(crate) struct DiscoverArgs {
    /// Milliseconds to listen for [default: 2000; with --watch until Ctrl-C]
    #[arg(long, value_name = "MS", value_parser = timeout)]
    pub(crate) timeout: Option<Duration>,
    /// Print each gateway when it comes and when it goes, one a line
    #[arg(long)]
    pub(crate) watch: bool,
}
