//! From where devices are managed: the socket of the gateway's owner on the gateway's own machine,
//! which works when nobody can log in any more, or a connection like that of any other command.

use std::path::{Path, PathBuf};

use clawgate_core::client::{Call, IssuedToken, Profile};
use clawgate_core::credentials::Surface;
use clawgate_core::frame::RawJson;
use clawgate_core::protocol::{ClientId, ClientInfo, ClientMode, Role};
use clawgate_core::scope::{Scope, ScopeSet};
use clawgate_std::{ConnectError, Connection, Problem};
use serde_json::Value;

use crate::context::Context;
use crate::dial::{self, Link};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::target::{self, Resolved, TargetFlags, target_text};
use crate::{output, refusal, run};

/// An open connection for device management.
#[derive(Debug)]
pub(crate) enum Desk<'a> {
    /// By the owner's socket.
    Owner {
        /// The connection.
        connection: Connection,
        /// The socket.
        socket: PathBuf,
    },
    /// By the network.
    Network {
        /// The connection.
        link: Link<'a>,
        /// Where it leads.
        place: String,
    },
}

/// Opens one, works with it, and closes it.
///
/// # Errors
/// When there is no connection, or the work fails.
pub(crate) fn with<T>(
    flags: &TargetFlags,
    context: &Context,
    work: impl FnOnce(&mut Desk<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    with_methods(&[], flags, context, work)
}

/// The same for work that needs what these methods need.
///
/// # Errors
/// As [`with`].
pub(crate) fn with_methods<T>(
    methods: &[&str],
    flags: &TargetFlags,
    context: &Context,
    work: impl FnOnce(&mut Desk<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if let Some(mut desk) = by_socket(flags, context)? {
        let result = work(&mut desk);
        desk.close();
        return result;
    }
    let resolved = target::find(Surface::Call, flags, context)?;
    let mut scopes = scopes(&resolved);
    for scope in dial::scopes(methods) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    let link = Link::open_with(&resolved, scopes, flags.timeout)
        .map_err(|error| error.explain(&resolved))?;
    let mut desk = Desk::Network {
        link,
        place: target_text(&resolved.why),
    };
    let result = work(&mut desk);
    desk.close();
    result
}

impl Desk<'_> {
    /// Where it leads.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Owner { socket, .. } => format!("unix:{}", socket.display()),
            Self::Network { place, .. } => place.clone(),
        }
    }

    /// Calls a method and waits for the result.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Result<Value, Failure> {
        let params = RawJson::encode(params)
            .map_err(|error| Failure::new(Exit::Failed, "params", error.to_string(), ""))?;
        let result = match self {
            Self::Network { link, .. } => link.call(method, params)?,
            Self::Owner { connection, socket } => connection
                .call(Call::new(method, params))
                .map_err(|error| refusal::owner_call(method, &error, socket))?,
        };
        Ok(result.parse().unwrap_or(Value::Null))
    }

    /// Keeps a new token, if it is this machine's device that got it, by the network. Tells whether
    /// it did.
    pub(crate) fn keep_own(&self, device_id: &str, role: Role, issued: &IssuedToken) -> bool {
        let Self::Network { link, .. } = self else {
            return false;
        };
        let own = link
            .own_device()
            .filter(|own| own.id().as_str() == device_id);
        if let Some(own) = &own {
            link.keep_token(own, role, issued);
        }
        own.is_some()
    }

    fn close(self) {
        match self {
            Self::Owner { connection, .. } => connection.close(),
            Self::Network { link, .. } => link.connection.close(),
        }
    }
}

/// What to ask for over the network. Where the shared secret is enough, everything that an approval
/// may take; a device asks for what it has, and to manage devices.
fn scopes(resolved: &Resolved) -> Vec<String> {
    let auth = resolved.target.auth();
    let shared = auth.token().is_some() || auth.password().is_some();
    let pairing = ScopeSet::from_iter([Scope::Pairing]);
    if shared && resolved.target.endpoint().is_loopback() {
        dial::EVERYTHING.map(|scope| scope.as_str().into()).to_vec()
    } else {
        auth.device_scopes()
            .map_or_else(|| pairing.clone(), |held| held.union(&pairing))
            .names()
    }
}

/// The owner's way in, where the command is about the gateway of this machine and nothing says
/// otherwise. Nobody listening there is no failure: then the port is tried.
fn by_socket<'a>(flags: &TargetFlags, context: &Context) -> Result<Option<Desk<'a>>, Failure> {
    let Some(socket) = socket_of(flags, context) else {
        return Ok(None);
    };
    let info = ClientInfo::new(
        ClientId::Cli,
        ClientMode::Cli,
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
    );
    let scopes = [Scope::Admin, Scope::Pairing].map(|scope| scope.as_str().into());
    let profile = Profile::operator(info, scopes.to_vec());
    match Connection::open_owner(&socket, profile, dial::options(flags.timeout)) {
        Ok(connection) => Ok(Some(Desk::Owner { connection, socket })),
        Err(error) => {
            let Problem::Socket { is_gone, .. } = &error.problem else {
                return Err(unusable(&error, &socket));
            };
            if !is_gone {
                output::note(&format!("warning: {error}; trying the port"));
            }
            Ok(None)
        }
    }
}

/// The socket, if the command is about the gateway whose it is. A config that cannot be used does
/// not stop the owner.
fn socket_of(flags: &TargetFlags, context: &Context) -> Option<PathBuf> {
    let is_remote = context
        .config_file()
        .is_ok_and(|file| file.config.gateway.mode.is_remote());
    let elsewhere = flags.is_explicit()
        || flags.names_credentials()
        || context.env.non_blank("OPENCLAW_GATEWAY_URL").is_some()
        // One that cannot be told is an error that the way over the network tells.
        || !matches!(context.named(flags.named_target()), Ok(None))
        || is_remote;
    let own = &context.locations().ok()?.own;
    (!elsewhere).then(|| own.join(run::SOCKET))
}

fn unusable(error: &ConnectError, socket: &Path) -> Failure {
    let failure = refusal::owner_connect(error, socket);
    failure.note("to try the port instead, add --port")
}
