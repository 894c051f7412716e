//! Connecting to the gateway of a command, and calling it.

use std::time::{Duration, Instant};

use clawgate_core::client::{Call, Profile, Target as ClientTarget};
use clawgate_core::frame::RawJson;
use clawgate_core::methods::{Access, METHODS};
use clawgate_core::policy::TlsTrust;
use clawgate_core::protocol::{ClientId, ClientInfo, ClientMode};
use clawgate_core::scope::Scope;
use clawgate_std::{CallError, ConnectError, Connection, Options, look_at_certificate};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::refusal;
use crate::target::Resolved;

/// What a call of an unknown method asks for: the set of the official CLI (spec protocol §4).
const UNKNOWN_METHOD: [Scope; 7] = [
    Scope::Admin,
    Scope::Read,
    Scope::Write,
    Scope::Approvals,
    Scope::Questions,
    Scope::Pairing,
    Scope::TalkSecrets,
];

/// An open connection, and why it leads where it does.
#[derive(Debug)]
pub(crate) struct Link<'a> {
    /// The connection.
    pub(crate) connection: Connection,
    resolved: &'a Resolved,
}

/// Why there is no link.
#[derive(Debug)]
pub(crate) enum NoLink {
    /// There is no connection.
    Connect(Box<ConnectError>),
    /// This machine failed before there was one.
    Local(Failure),
}

impl From<Box<ConnectError>> for NoLink {
    fn from(error: Box<ConnectError>) -> Self {
        Self::Connect(error)
    }
}

impl<'a> Link<'a> {
    /// Connects, and asks for the scopes that these methods need.
    ///
    /// # Errors
    /// When there is no connection.
    pub(crate) fn open(
        resolved: &'a Resolved,
        methods: &[&str],
        timeout: Duration,
    ) -> Result<Self, NoLink> {
        let start = Instant::now();
        let target = first_use(ClientTarget::from(&resolved.target), resolved, timeout)?;
        let left = timeout.saturating_sub(start.elapsed());
        let connection = Connection::open(&target, profile(resolved, methods), options(left))?;
        Ok(Self {
            connection,
            resolved,
        })
    }

    /// Connects as [`Link::open`], with the failure in words.
    ///
    /// # Errors
    /// When there is no connection.
    pub(crate) fn open_or_explain(
        resolved: &'a Resolved,
        methods: &[&str],
        timeout: Duration,
    ) -> Result<Self, Failure> {
        Self::open(resolved, methods, timeout).map_err(|error| match error {
            NoLink::Connect(error) => refusal::connect(&error, resolved),
            NoLink::Local(failure) => failure,
        })
    }

    /// Calls a method with these parameters and waits for the result.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn call(&mut self, method: &str, params: RawJson) -> Result<RawJson, Failure> {
        self.connection
            .call(Call::new(method, params))
            .map_err(|error| self.explain(method, &error))
    }

    /// Calls several methods at once. Each has a result of its own.
    pub(crate) fn call_all(
        &mut self,
        calls: Vec<(&'static str, RawJson)>,
    ) -> Vec<(&'static str, Result<RawJson, Failure>)> {
        let started: Vec<_> = calls
            .into_iter()
            .map(|(method, params)| (method, self.connection.start(Call::new(method, params))))
            .collect();
        started
            .into_iter()
            .map(|(method, id)| {
                let outcome = id
                    .map_err(CallError::from)
                    .and_then(|id| self.connection.wait(&id))
                    .map_err(|error| self.explain(method, &error));
                (method, outcome)
            })
            .collect()
    }

    fn explain(&self, method: &str, error: &CallError) -> Failure {
        refusal::call(method, error, self.resolved, self.connection.hello())
    }
}

/// Pins a certificate that is seen for the first time, before anything is sent to who shows it.
fn first_use(
    target: ClientTarget,
    resolved: &Resolved,
    timeout: Duration,
) -> Result<ClientTarget, NoLink> {
    let route = target.route();
    if *route.trust() != TlsTrust::FirstUse {
        return Ok(target);
    }
    let Some(seen) = look_at_certificate(route, &options(timeout))? else {
        return Ok(target);
    };
    let file = resolved.pins.as_ref().ok_or_else(no_place_for_pins);
    let pin = file
        .and_then(|file| file.remember(route.endpoint(), seen))
        .map_err(NoLink::Local)?;
    output::note(&format!(
        "pinned: {} shows sha256:{pin} (`clawgate pins list`)",
        route.endpoint().url()
    ));
    Ok(target.pinned_by_first_use(pin.into()))
}

fn no_place_for_pins() -> Failure {
    Failure::new(
        Exit::Configuration,
        "no_home",
        "There is no folder to keep a pinned certificate in.",
        "Set HOME or OPENCLAW_STATE_DIR, or leave out the first use.",
    )
}

fn options(timeout: Duration) -> Options {
    let mut options = Options {
        total: Some(timeout),
        ..Options::default()
    };
    // One deadline for all: no stage ends earlier on its own, or longer waits could not be asked for.
    options.limits.challenge = timeout;
    options.limits.connect = timeout;
    options.limits.request = timeout;
    options
}

/// Who this client says it is. Without a shared secret, a gateway on this machine lets only the
/// backend client in (spec protocol §3.5).
fn profile(resolved: &Resolved, methods: &[&str]) -> Profile {
    let (id, mode) = if resolved.target.auth().is_empty() {
        (ClientId::GatewayClient, ClientMode::Backend)
    } else {
        (ClientId::Cli, ClientMode::Cli)
    };
    let info = ClientInfo::new(id, mode, env!("CARGO_PKG_VERSION"), std::env::consts::OS);
    Profile::operator(info, scopes(methods))
}

/// The least that these methods need.
fn scopes(methods: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for method in methods {
        let needed: &[Scope] = match METHODS.iter().find(|spec| spec.name == *method) {
            None => &UNKNOWN_METHOD,
            Some(spec) => match spec.access {
                Access::Anyone | Access::AnyOperator | Access::Node => &[],
                Access::Operator(ref scope) => std::slice::from_ref(scope),
            },
        };
        for scope in needed {
            if !names.iter().any(|name| name == scope.as_str()) {
                names.push(scope.as_str().to_owned());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_scopes_than_needed() {
        assert_eq!(scopes(&["health"]), Vec::<String>::new());
        assert_eq!(scopes(&["status", "system-presence"]), ["operator.read"]);
        assert_eq!(
            scopes(&["status", "node.pair.list"]),
            ["operator.read", "operator.pairing"]
        );
        assert_eq!(scopes(&["x.y"]).len(), 7);
    }
}
