//! The certificate that is served now, and the task that looks after it.

use std::{
    fmt, fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clawgate_core::{
    policy::{TlsFiles, TlsFingerprint},
    time::{WallTime, millis},
};
use futures_rustls::rustls::ServerConfig;
use tracing::{info, warn};

use super::{
    load::{Loaded, TlsLoadError, load},
    validity::{self, ValidityWarning},
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// TLS for a server's port. Clones share the certificate.
///
/// When the files change, new connections get the new certificate, and those that are open stay. A
/// new pair that cannot be served with is reported in the log, and the old one stays in use.
#[derive(Clone)]
pub struct TlsPort(Arc<Shared>);

struct Shared {
    files: TlsFiles,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    fingerprint: TlsFingerprint,
    warning: Option<ValidityWarning>,
    /// How the files looked when they were last read, well or badly.
    looked: Look,
}

/// How files look from outside. Two looks that are equal mean that nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look([Option<(Option<SystemTime>, u64)>; 3]);

impl Look {
    fn at(files: &TlsFiles) -> Self {
        let of = |path: &Path| {
            let data = fs::metadata(path).ok()?;
            Some((data.modified().ok(), data.len()))
        };
        Self([
            of(&files.certificate),
            of(&files.key),
            files.authorities.as_deref().and_then(of),
        ])
    }
}

impl TlsPort {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be served with.
    pub fn load(files: TlsFiles) -> Result<Self, TlsLoadError> {
        // Before they are read, so that a change in between is noticed later.
        let looked = Look::at(&files);
        let current = Current::new(load(&files)?, looked);
        Ok(Self(Arc::new(Shared {
            files,
            current: Mutex::new(current),
        })))
    }

    /// What clients pin.
    pub fn fingerprint(&self) -> TlsFingerprint {
        self.current().fingerprint
    }

    /// What the operator should know about the dates of the certificate.
    pub fn warning(&self) -> Option<ValidityWarning> {
        self.current().warning
    }

    /// For the next handshake.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().config)
    }

    /// Takes up changes of the files, for as long as it is polled.
    pub(crate) async fn keep(self) {
        loop {
            smol::Timer::after(LOOK).await;
            let port = self.clone();
            smol::unblock(move || port.look()).await;
        }
    }

    fn look(&self) {
        let looked = Look::at(&self.0.files);
        if looked == self.current().looked {
            return;
        }
        let loaded = load(&self.0.files);
        let mut current = self.current();
        match loaded {
            Ok(loaded) => {
                let fingerprint = loaded.fingerprint;
                if fingerprint != current.fingerprint {
                    info!(%fingerprint, "the TLS certificate was replaced");
                }
                *current = Current::new(loaded, looked);
                if let Some(warning) = current.warning {
                    warn!("{warning}");
                }
            }
            Err(error) => {
                warn!(%error, "the new TLS certificate cannot be used; the old one stays");
                current.looked = looked;
            }
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.0
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn new(loaded: Loaded, looked: Look) -> Self {
        Self {
            warning: validity::check(&loaded.leaf, now()),
            config: loaded.config,
            fingerprint: loaded.fingerprint,
            looked,
        }
    }
}

impl fmt::Debug for TlsPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsPort")
            .field("files", &self.0.files)
            .field("fingerprint", &self.fingerprint())
            .finish()
    }
}

fn now() -> WallTime {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(WallTime(0), |since| WallTime(millis(since)))
}
