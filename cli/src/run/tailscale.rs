//! The gateway's route into the tailnet: made at the start, ended at the end. What the routes are,
//! the core decides.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::PathBuf,
};

use clawgate_core::{
    config::{GatewayConfig, RouteOnExit},
    tailscale::{Publication, Route},
};
use clawgate_smol::{ManagedPort, Tailscale};
use tracing::{info, warn};

use super::{
    RunError,
    state::{StateFolder, write_private},
};

/// The name of the file that tells which route is ours.
const ROUTE_FILE: &str = "tailscale-route";

/// A published gateway. The route ends with this value, if the configuration says so.
#[derive(Debug)]
pub(super) struct TailnetRoute {
    tailscale: Tailscale,
    route: Route,
    file: PathBuf,
    on_exit: RouteOnExit,
    url: String,
}

/// Opens the port that nothing but Tailscale forwards to, and has it published, if the
/// configuration asks for that. Whoever comes before the gateway serves waits in the queue.
pub(super) fn publish(
    gateway: &GatewayConfig,
    own: &StateFolder,
    tailscale: &Tailscale,
) -> Result<Option<(ManagedPort, TailnetRoute)>, RunError> {
    let Some(publication) = Publication::of_mode(gateway.tailscale) else {
        return Ok(None);
    };
    let file = own.file(ROUTE_FILE);
    let earlier = match fs::read_to_string(&file) {
        Ok(target) => Some(target.trim().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(RunError::file("read", &file)(error)),
    };
    let listener = listen(earlier.as_deref().and_then(Route::port_of))?;
    let port = listener.local_addr().map_err(RunError::Server)?.port();
    let route = Route { publication, port };
    let url = tailscale.publish(route, earlier.as_deref())?;
    let published = TailnetRoute {
        tailscale: tailscale.clone(),
        route,
        on_exit: gateway.tailscale_on_exit,
        url,
        file,
    };
    let target = format!("{}\n", route.target());
    write_private(&published.file, target.as_bytes())?;
    info!(
        url = published.url,
        publication = publication.as_str(),
        "published by tailscale"
    );
    Ok(Some((
        ManagedPort {
            listener,
            publication,
        },
        published,
    )))
}

/// A loopback port: that of the last route, if it is free, else any.
fn listen(last: Option<u16>) -> Result<TcpListener, RunError> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    last.and_then(|port| clawgate_smol::listen(loopback, port).ok())
        .map_or_else(|| clawgate_smol::listen(loopback, 0), Ok)
        .map_err(RunError::Server)
}

impl TailnetRoute {
    /// What clients dial.
    pub(super) fn websocket_url(&self) -> String {
        self.url.replacen("https://", "wss://", 1)
    }

    /// For the person at the terminal.
    pub(super) fn describe(&self) -> String {
        let open_to = match self.route.publication {
            Publication::Serve => "the tailnet",
            Publication::Funnel => "the internet",
        };
        format!("{} (open to {open_to})", self.url)
    }
}

impl Drop for TailnetRoute {
    fn drop(&mut self) {
        match self.on_exit {
            RouteOnExit::Kept => return,
            RouteOnExit::Withdrawn => {}
        }
        match self.tailscale.withdraw(self.route) {
            Ok(()) => {
                let _ = fs::remove_file(&self.file);
            }
            Err(error) => warn!(%error, "the tailscale route is still there"),
        }
    }
}
