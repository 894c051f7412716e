//! The certificate of the gateway's port: read, or made at the first start. When, and where it lies,
//! the core decides.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use clawgate_core::config::{EnvVars, TlsConfig, paths::Locations};
use clawgate_core::policy::{Presence, TlsFiles, TlsPart, TlsStart, tls_start};
use clawgate_core::time::{WallTime, millis};
use clawgate_smol::{TlsPort, make_certificate};
use tracing::{info, warn};

use super::error::RunError;
use super::state::write_private;
use crate::private_file;

/// TLS for the gateway's port, and where its certificate lies.
#[derive(Debug)]
pub(super) struct GatewayTls {
    pub(super) port: TlsPort,
    files: TlsFiles,
}

/// Reads the pair, and makes it first where the config allows that and neither half is there.
pub(super) fn prepare(
    config: &TlsConfig,
    places: &Locations,
    env: &EnvVars,
) -> Result<Option<GatewayTls>, RunError> {
    if !config.enabled {
        return Ok(None);
    }
    let files = TlsFiles::of_config(config, places, env).map_err(RunError::TlsPlace)?;
    let presence = |path: &Path| match path.try_exists() {
        Ok(true) => Ok(Presence::Present),
        Ok(false) => Ok(Presence::Missing),
        Err(error) => Err(RunError::file("look for", path)(error)),
    };
    let (certificate, key) = (presence(&files.certificate)?, presence(&files.key)?);
    let start = tls_start(config, certificate, key).map_err(|missing| {
        let (path, other) = match missing.0 {
            TlsPart::Key => (&files.key, &files.certificate),
            TlsPart::Certificate | TlsPart::Authorities => (&files.certificate, &files.key),
        };
        let other = (config.auto_generate).then(|| other.clone());
        RunError::TlsFileMissing {
            part: missing.0,
            path: path.clone(),
            other,
        }
    })?;
    if start == TlsStart::Make {
        make(&files)?;
    }
    let port = TlsPort::load(files.clone()).map_err(RunError::Tls)?;
    if let Some(warning) = port.warning() {
        warn!(certificate = %files.certificate.display(), "{warning}");
    }
    info!(fingerprint = %port.fingerprint(), "TLS is on");
    Ok(Some(GatewayTls { port, files }))
}

fn make(files: &TlsFiles) -> Result<(), RunError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(WallTime(0), |since| WallTime(millis(since)));
    let made = make_certificate(now).map_err(RunError::Certificate)?;
    for path in [&files.key, &files.certificate] {
        if let Some(folder) = path.parent() {
            let fail = |error: io::Error| RunError::file("make the folder", folder)(error);
            private_file::make_folder(folder).map_err(fail)?;
        }
    }
    write_private(&files.key, made.key.expose().as_bytes())?;
    write_private(&files.certificate, made.certificate.as_bytes())?;
    info!(certificate = %files.certificate.display(), "made a self-signed TLS certificate");
    Ok(())
}

impl GatewayTls {
    /// For the person at the terminal.
    pub(super) fn describe(&self) -> String {
        format!(
            "sha256:{} ({})",
            self.port.fingerprint(),
            self.files.certificate.display()
        )
    }
}
