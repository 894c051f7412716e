//! What the person at the terminal is told when the gateway is ready.

use std::io::{self, Write};
use std::path::Path;

use clawgate_core::config::{AuthMode, paths::Locations};
use clawgate_core::policy::{server_auth::ServerSecretSource, startup_auth::StartupAuth};

use super::tailscale::TailnetRoute;
use super::tls::GatewayTls;

/// Tells the person at the terminal how to reach it.
pub(super) fn announce(
    addresses: &[String],
    tls: Option<&GatewayTls>,
    tailnet: Option<&TailnetRoute>,
    channels: &[String],
    started: &StartupAuth,
    places: &Locations,
    token_file: &Path,
) {
    let auth = match (
        started.auth.mode,
        &started.auth.token,
        &started.auth.password,
    ) {
        (AuthMode::None, _, _) => "none: every program on this machine may connect".into(),
        (AuthMode::Token, Some(token), _) => {
            let origin = match token.source {
                ServerSecretSource::Generated => format!("kept in {}", token_file.display()),
                ServerSecretSource::ConfigAuth => "from gateway.auth.token".into(),
                ServerSecretSource::Env => "from OPENCLAW_GATEWAY_TOKEN".into(),
                ServerSecretSource::Override => "from the command line".into(),
            };
            format!("token, {origin} (id {})", token.secret.id())
        }
        (AuthMode::Password, _, Some(password)) => {
            format!("password (id {})", password.secret.id())
        }
        (AuthMode::TrustedProxy, _, local) => {
            let proxy = started.auth.trusted_proxy.as_ref();
            let header = proxy.map_or("", |proxy| proxy.user_header.trim());
            let local = local.as_ref().map_or_else(String::new, |password| {
                format!("; password on this machine (id {})", password.secret.id())
            });
            format!("trusted-proxy, users named by {header}{local}")
        }
        (AuthMode::Token | AuthMode::Password, _, _) => "none usable".into(),
    };
    let tls = tls.map_or_else(String::new, |tls| format!("\n  tls     {}", tls.describe()));
    let tailnet = tailnet.map_or_else(String::new, |tailnet| {
        format!("\n  tailnet {}", tailnet.describe())
    });
    let heard: String = channels
        .iter()
        .map(|channel| format!("\n  channel {channel}"))
        .collect();
    let mut out = io::stdout().lock();
    // A closed standard output is no reason to stop.
    let _ = writeln!(
        out,
        "clawgate {} is ready on {}\n  auth    {auth}{tls}{tailnet}{heard}\n  config  {}\n  state   {}\n  try     clawgate \
         health, clawgate gateway probe\n  stop    Ctrl-C",
        env!("CARGO_PKG_VERSION"),
        addresses.join(" and "),
        places.config.display(),
        places.own.display(),
    )
    .and_then(|()| out.flush());
}
