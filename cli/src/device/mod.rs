//! This machine as a device: its key, and the tokens that gateways gave it. The rules are the
//! core's; this reads and writes the files.

mod key;
mod tokens;

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clawgate_core::client::{IssuedToken, Route};
use clawgate_core::config::ContextName;
use clawgate_core::config::paths::Locations;
use clawgate_core::credentials::{DeviceTokens, TokenBook};
use clawgate_core::device::DeviceIdentity;
use clawgate_core::protocol::Role;
use clawgate_core::secret::Secret;
use clawgate_core::time::{WallTime, millis};

use self::key::KeyFile;
use self::tokens::TokenFile;
use crate::failure::Failure;
use crate::output;

/// The files of one instance, which may not be there yet.
#[derive(Clone, Debug)]
pub(crate) struct DeviceFiles {
    key: KeyFile,
    tokens: TokenFile,
}

/// A device that exists.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Its key.
    pub(crate) identity: Arc<DeviceIdentity>,
    /// Its tokens.
    pub(crate) book: TokenBook,
}

impl Known {
    /// What the choice of credentials has to know.
    pub(crate) fn tokens(&self) -> DeviceTokens<'_> {
        DeviceTokens {
            book: &self.book,
            device: self.identity.id(),
        }
    }
}

impl DeviceFiles {
    /// The files of an instance. The device is one; its tokens are those of a context, if one is in
    /// force.
    pub(crate) fn of(places: &Locations, context: Option<&ContextName>) -> Self {
        Self {
            key: KeyFile::new(places.device_key_file()),
            tokens: TokenFile::new(match context {
                Some(context) => places.context_tokens_file(context),
                None => places.device_tokens_file(),
            }),
        }
    }

    /// The file of the key.
    pub(crate) fn key_path(&self) -> &Path {
        self.key.path()
    }

    /// The device, if there is one. Nothing is made. One that cannot be read is told of and passed
    /// over: most connections need none.
    pub(crate) fn known(&self) -> Option<Known> {
        match self.key.read() {
            Ok(identity) => Some(Known {
                identity: identity?,
                book: self.tokens.read_or_set_aside(),
            }),
            Err(failure) => {
                output::note(&format!("warning: not used: {}", failure.message));
                None
            }
        }
    }

    /// The device, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn identity(&self) -> Result<Option<Arc<DeviceIdentity>>, Failure> {
        self.key.read()
    }

    /// The device, made now if there was none.
    ///
    /// # Errors
    /// When it can be neither read nor made.
    pub(crate) fn identity_or_new(&self) -> Result<Arc<DeviceIdentity>, Failure> {
        self.key.read_or_make()
    }

    /// All tokens.
    pub(crate) fn book(&self) -> TokenBook {
        self.tokens.read_or_set_aside()
    }

    /// Keeps the token that a gateway issued. What cannot be kept is told of: the gateway will issue
    /// another one.
    pub(crate) fn remember(
        &self,
        route: &Route,
        who: (&DeviceIdentity, Role),
        issued: &IssuedToken,
    ) {
        let (identity, role) = who;
        self.tokens.change(|book| {
            let way = (route.endpoint(), route.trust());
            book.remember(way, (identity.id(), role), issued, wall_time())
        });
    }

    /// Drops a token that its gateway refused.
    pub(crate) fn forget(&self, route: &Route, who: (&DeviceIdentity, Role), refused: &Secret) {
        let (identity, role) = who;
        self.tokens
            .change(|book| book.forget(route.endpoint(), (identity.id(), role), refused));
    }
}

/// The calendar's time.
pub(crate) fn wall_time() -> WallTime {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(WallTime(0), |since| WallTime(millis(since)))
}
