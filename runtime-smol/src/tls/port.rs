//! The certificate that is served now, and the task that looks after it.

use std::{
    fmt,
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
    load::{Loaded, Texts, TlsLoadError, load},
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
    /// What the files held when they were last looked at, well or badly. `None` when they could not
    /// be read.
    digest: Option<[u8; 32]>,
}

/// What a look at the files has found.
#[derive(Debug)]
pub enum Refreshed {
    /// They are as they were at the last look.
    Unchanged,
    /// They are served with from now on.
    Replaced,
    /// They cannot be served with; what was in use stays.
    Kept(TlsLoadError),
}

impl TlsPort {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be served with.
    pub fn load(files: TlsFiles) -> Result<Self, TlsLoadError> {
        let texts = Texts::read(&files)?;
        let current = Current::new(load(&files, &texts)?, Some(texts.digest()));
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

    /// Looks at the files. A server does so by itself about every second.
    pub fn refresh(&self) -> Refreshed {
        let texts = Texts::read(&self.0.files);
        let digest = texts.as_ref().ok().map(Texts::digest);
        let mut current = self.current();
        if digest == current.digest {
            return Refreshed::Unchanged;
        }
        current.digest = digest;
        match texts.and_then(|texts| load(&self.0.files, &texts)) {
            Ok(loaded) => {
                *current = Current::new(loaded, digest);
                Refreshed::Replaced
            }
            Err(error) => Refreshed::Kept(error),
        }
    }

    /// Takes up changes of the files, for as long as it is polled.
    pub(crate) async fn keep(self) {
        loop {
            smol::Timer::after(LOOK).await;
            let port = self.clone();
            match smol::unblock(move || port.refresh()).await {
                Refreshed::Unchanged => {}
                Refreshed::Replaced => {
                    info!(fingerprint = %self.fingerprint(), "the TLS certificate was replaced");
                    if let Some(warning) = self.warning() {
                        warn!("{warning}");
                    }
                }
                Refreshed::Kept(error) => {
                    warn!(%error, "the new TLS certificate cannot be used; the old one stays");
                }
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
    fn new(loaded: Loaded, digest: Option<[u8; 32]>) -> Self {
        Self {
            warning: validity::check(&loaded.leaf, now()),
            config: loaded.config,
            fingerprint: loaded.fingerprint,
            digest,
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
