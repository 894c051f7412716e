//! Where a gateway's certificate and key lie, and when they are made (spec hostpolicy §6).

use std::path::PathBuf;

use super::tls_identity::TlsPart;
use crate::config::{
    EnvVars, TlsConfig,
    paths::{Locations, PathsError, user_path},
};

/// The folder of the default files, below the state folder.
const FOLDER: &str = "gateway/tls";

/// The files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, as PEM.
    pub certificate: PathBuf,
    /// Its key, as PEM.
    pub key: PathBuf,
    /// More certificates that vouch for it, as PEM.
    pub authorities: Option<PathBuf>,
}

impl TlsFiles {
    /// Where `gateway.tls` says they are, else `gateway-cert.pem` and `gateway-key.pem` in
    /// `gateway/tls` of the state folder.
    ///
    /// # Errors
    /// When a path begins with `~` and there is no home folder.
    pub fn of_config(
        tls: &TlsConfig,
        places: &Locations,
        env: &EnvVars,
    ) -> Result<Self, PathsError> {
        let path = |written: &Option<String>, name: &str| match written {
            Some(path) => user_path(env, path),
            None => Ok(places.state.join(FOLDER).join(name)),
        };
        Ok(Self {
            certificate: path(&tls.cert_path, "gateway-cert.pem")?,
            key: path(&tls.key_path, "gateway-key.pem")?,
            authorities: tls
                .ca_path
                .as_ref()
                .map(|path| user_path(env, path))
                .transpose()?,
        })
    }
}

/// Whether a file is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Present,
    /// It is not.
    Missing,
}

/// What a start does about the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsStart {
    /// It reads the files.
    Read,
    /// It makes a self-signed pair, writes it, and reads it.
    Make,
}

/// A file is missing, and nothing may be made in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsFileMissing(pub TlsPart);

/// Decides by what is there. Half a pair is never completed: who has one half wants that one.
///
/// ```
/// use clawgate_core::config::TlsConfig;
/// use clawgate_core::policy::{Presence::{Missing, Present}, TlsStart, tls_start};
///
/// let tls = TlsConfig::default();
/// assert_eq!(tls_start(&tls, Missing, Missing), Ok(TlsStart::Make));
/// assert!(tls_start(&tls, Present, Missing).is_err());
/// ```
///
/// # Errors
/// With the file that is missing.
pub const fn tls_start(
    tls: &TlsConfig,
    certificate: Presence,
    key: Presence,
) -> Result<TlsStart, TlsFileMissing> {
    match (certificate, key) {
        (Presence::Present, Presence::Present) => Ok(TlsStart::Read),
        (Presence::Missing, Presence::Missing) if tls.auto_generate => Ok(TlsStart::Make),
        (Presence::Missing, _) => Err(TlsFileMissing(TlsPart::Certificate)),
        (Presence::Present, Presence::Missing) => Err(TlsFileMissing(TlsPart::Key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Presence::{Missing, Present};

    #[test]
    fn a_pair_is_made_only_where_neither_half_is_and_the_config_allows_it() {
        let auto = TlsConfig::default();
        let given = TlsConfig {
            auto_generate: false,
            ..TlsConfig::default()
        };
        let missing = |part| Err(TlsFileMissing(part));
        for (tls, certificate, key, expected) in [
            (&auto, Present, Present, Ok(TlsStart::Read)),
            (&given, Present, Present, Ok(TlsStart::Read)),
            (&auto, Missing, Missing, Ok(TlsStart::Make)),
            (&given, Missing, Missing, missing(TlsPart::Certificate)),
            (&auto, Missing, Present, missing(TlsPart::Certificate)),
            (&auto, Present, Missing, missing(TlsPart::Key)),
        ] {
            assert_eq!(tls_start(tls, certificate, key), expected);
        }
    }

    #[test]
    fn files_lie_in_the_state_folder_unless_named() {
        let env: EnvVars = [("HOME", "/h")].into_iter().collect();
        let places = Locations {
            state: "/s".into(),
            config: "/s/c".into(),
            own: "/s/clawgate".into(),
        };
        let files = TlsFiles::of_config(&TlsConfig::default(), &places, &env).unwrap();
        assert_eq!(
            files.certificate,
            PathBuf::from("/s/gateway/tls/gateway-cert.pem")
        );
        assert_eq!(files.key, PathBuf::from("/s/gateway/tls/gateway-key.pem"));
        let named = TlsConfig {
            cert_path: Some("~/c.pem".into()),
            key_path: Some("/k.pem".into()),
            ca_path: Some("~/ca.pem".into()),
            ..TlsConfig::default()
        };
        let files = TlsFiles::of_config(&named, &places, &env).unwrap();
        assert_eq!(files.certificate, PathBuf::from("/h/c.pem"));
        assert_eq!(files.key, PathBuf::from("/k.pem"));
        assert_eq!(files.authorities, Some("/h/ca.pem".into()));
        assert!(TlsFiles::of_config(&named, &places, &EnvVars::new()).is_err());
    }
}
