//! Connecting to the gateway of a command, and calling it.

use std::sync::{Arc, mpsc::Receiver};
use std::time::{Duration, Instant};

use clawgate_core::client::{
    Call, DeviceNeed, DeviceUse, Ending, IssuedToken, Profile, Purpose, Target as ClientTarget,
    device_use, takes_a_device,
};
use clawgate_core::device::DeviceIdentity;
use clawgate_core::frame::RawJson;
use clawgate_core::methods::{Access, METHODS};
use clawgate_core::policy::TlsTrust;
use clawgate_core::protocol::{ClientId, ClientInfo, ClientMode, Role};
use clawgate_core::scope::Scope;
use clawgate_std::{
    CallError, Client, ClientEvent, ClientOptions, ConnectError, Connection, Options, TokenFate,
    look_at_certificate,
};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::refusal;
use crate::target::Resolved;
use crate::text;

/// What the official CLI asks for (spec protocol §4), and a call of an unknown method.
pub(crate) const EVERYTHING: [Scope; 7] = [
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

impl NoLink {
    /// The same in words.
    pub(crate) fn explain(self, resolved: &Resolved) -> Failure {
        match self {
            Self::Connect(error) => refusal::connect(&error, resolved),
            Self::Local(failure) => failure,
        }
    }
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
        Self::open_with(resolved, scopes(methods), timeout)
    }

    /// Connects, and asks for these scopes.
    ///
    /// # Errors
    /// When there is no connection.
    pub(crate) fn open_with(
        resolved: &'a Resolved,
        scopes: Vec<String>,
        timeout: Duration,
    ) -> Result<Self, NoLink> {
        let asks = !scopes.is_empty();
        let need = DeviceNeed::of(&resolved.target, resolved.purpose, asks);
        Self::dial(resolved, scopes, timeout, device_use(need))
    }

    /// Connects with this machine's device, whatever else is presented.
    ///
    /// # Errors
    /// When there is no connection.
    pub(crate) fn open_as_device(
        resolved: &'a Resolved,
        scopes: Vec<String>,
        timeout: Duration,
    ) -> Result<Self, NoLink> {
        Self::dial(resolved, scopes, timeout, DeviceUse::AtOnce)
    }

    fn dial(
        resolved: &'a Resolved,
        scopes: Vec<String>,
        timeout: Duration,
        device: DeviceUse,
    ) -> Result<Self, NoLink> {
        let Came { connection, .. } = come(resolved, scopes, &[], timeout, device)?;
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
        Self::open(resolved, methods, timeout).map_err(|error| error.explain(resolved))
    }

    /// Calls a method with these parameters and waits for the result.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn call(&mut self, method: &str, params: RawJson) -> Result<RawJson, Failure> {
        self.run(Call::new(method, params))
    }

    /// Makes a call and waits for the result.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn run(&mut self, call: Call) -> Result<RawJson, Failure> {
        let method = call.method.clone();
        self.connection
            .call(call)
            .map_err(|error| self.explain(&method, &error))
    }

    /// This machine's device, if there is one.
    pub(crate) fn own_device(&self) -> Option<Arc<DeviceIdentity>> {
        let known = self.resolved.device.as_ref()?.known()?;
        Some(known.identity)
    }

    /// Keeps a token that the gateway gave to this machine's device over this connection.
    pub(crate) fn keep_token(&self, identity: &DeviceIdentity, role: Role, issued: &IssuedToken) {
        if let Some(files) = &self.resolved.device {
            let target = ClientTarget::from(&self.resolved.target);
            files.remember(target.route(), (identity, role), issued);
        }
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

/// A connection, and by which way it came to be.
struct Came {
    connection: Connection,
    target: ClientTarget,
    profile: Profile,
}

fn come(
    resolved: &Resolved,
    scopes: Vec<String>,
    caps: &[&str],
    timeout: Duration,
    device: DeviceUse,
) -> Result<Came, NoLink> {
    let end = Instant::now() + timeout;
    let target = first_use(ClientTarget::from(&resolved.target), resolved, timeout)?;
    let asks = !scopes.is_empty();
    let caller = Caller {
        resolved,
        scopes,
        caps: caps.iter().map(|&cap| cap.to_owned()).collect(),
        end,
    };
    match device {
        DeviceUse::AtOnce => caller.as_device(&target),
        DeviceUse::Never => Ok(caller.without_device(&target)?),
        DeviceUse::WhenAsked => caller.as_device_when_asked(&target, asks),
    }
}

/// Connects to stay: asks for what these methods need, says what this client can do, and comes back
/// by itself after each loss. The timeout is for the first connection.
///
/// # Errors
/// When there is no connection at first.
pub(crate) fn stay(
    resolved: &Resolved,
    methods: &[&str],
    caps: &[&str],
    timeout: Duration,
) -> Result<(Client, Receiver<ClientEvent>), Failure> {
    let scopes = scopes(methods);
    let need = DeviceNeed::of(&resolved.target, resolved.purpose, !scopes.is_empty());
    let came = come(resolved, scopes, caps, timeout, device_use(need))
        .map_err(|error| error.explain(resolved))?;
    came.connection.close();
    Client::start(came.target, came.profile, ClientOptions::default())
        .map_err(|error| Failure::new(Exit::Failed, "client", error.to_string(), ""))
}

/// Pins a certificate that is seen for the first time, before anything is sent to who shows it.
pub(crate) fn first_use(
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

pub(crate) fn options(timeout: Duration) -> Options {
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

/// One command on its way to a connection.
struct Caller<'a> {
    resolved: &'a Resolved,
    scopes: Vec<String>,
    caps: Vec<String>,
    end: Instant,
}

impl Caller<'_> {
    fn options(&self) -> Options {
        options(self.end.saturating_duration_since(Instant::now()))
    }

    /// Connects without a device. Without a shared secret, a gateway on this machine lets only the
    /// backend client in (spec protocol §3.5).
    fn without_device(&self, target: &ClientTarget) -> Result<Came, Box<ConnectError>> {
        let info = if self.resolved.target.auth().is_empty() {
            client_info(ClientId::GatewayClient, ClientMode::Backend)
        } else {
            client_info(ClientId::Cli, ClientMode::Cli)
        };
        let profile = Profile {
            caps: self.caps.clone(),
            ..Profile::operator(info, self.scopes.clone())
        };
        let target = target.without_stored();
        let connection = Connection::open(&target, profile.clone(), self.options())?;
        Ok(Came {
            connection,
            target,
            profile,
        })
    }

    /// Connects without a device, and once more with it where the answer shows that it helps.
    fn as_device_when_asked(
        &self,
        target: &ClientTarget,
        asks_scopes: bool,
    ) -> Result<Came, NoLink> {
        let first = self.without_device(target);
        let outcome = match &first {
            Ok(came) => Some(Ok(came.connection.hello())),
            Err(error) => error.ending().map(Err),
        };
        let refused = match outcome {
            Some(Err(ending @ Ending::Refused(_))) => target.second_attempt(ending),
            Some(Ok(_) | Err(_)) | None => None,
        };
        let takes = outcome.is_some_and(|outcome| takes_a_device(outcome, asks_scopes));
        match refused {
            Some(second) => self.as_device(&second),
            None if takes && self.may_be_device() => self.as_device(target),
            None => Ok(first?),
        }
    }

    /// Whether there is a device, or one may be made.
    fn may_be_device(&self) -> bool {
        match (&self.resolved.device, self.resolved.purpose) {
            (None, _) => false,
            (Some(_), Purpose::Work) => true,
            (Some(files), Purpose::Look) => files.known().is_some(),
        }
    }

    /// Connects with this machine's device, and keeps what the gateway says of its token.
    fn as_device(&self, target: &ClientTarget) -> Result<Came, NoLink> {
        let Some(files) = &self.resolved.device else {
            return Ok(self.without_device(target)?);
        };
        let identity = match self.resolved.purpose {
            Purpose::Work => Some(files.identity_or_new().map_err(NoLink::Local)?),
            Purpose::Look => files.identity().map_err(NoLink::Local)?,
        };
        let Some(identity) = identity else {
            return Ok(self.without_device(target)?);
        };
        let profile = Profile {
            device: Some(Arc::clone(&identity)),
            caps: self.caps.clone(),
            ..Profile::operator(
                device_info(ClientId::Cli, ClientMode::Cli),
                self.held_scopes(),
            )
        };
        let who = (&*identity, Role::Operator);
        match Connection::open(target, profile.clone(), self.options()) {
            Ok(connection) => {
                if let Some(issued) = &connection.hello().device_token {
                    files.remember(target.route(), who, issued);
                }
                Ok(Came {
                    connection,
                    target: target.clone(),
                    profile,
                })
            }
            Err(error) => {
                let auth = self.resolved.target.auth();
                let stored = auth
                    .device_token()
                    .or_else(|| auth.device_token_for_retry());
                if let (TokenFate::Spoilt, Some(stored)) = (error.token, stored) {
                    files.forget(target.route(), who, stored);
                }
                Err(error.into())
            }
        }
    }

    /// The scopes that are asked for with a device. A look never asks for more than the device has,
    /// for that would ask somebody to approve it.
    fn held_scopes(&self) -> Vec<String> {
        let held = self.resolved.target.auth().device_scopes();
        match (self.resolved.purpose, held) {
            (Purpose::Look, Some(held)) => {
                let is_held = |name: &&String| Scope::parse(name).is_some_and(|it| held.allows(it));
                self.scopes.iter().filter(is_held).cloned().collect()
            }
            (Purpose::Look, None) | (Purpose::Work, _) => self.scopes.clone(),
        }
    }
}

fn client_info(id: ClientId, mode: ClientMode) -> ClientInfo {
    ClientInfo::new(id, mode, env!("CARGO_PKG_VERSION"), std::env::consts::OS)
}

/// Who a device says it is: with the name of this machine, by which people know it.
pub(crate) fn device_info(id: ClientId, mode: ClientMode) -> ClientInfo {
    const LONGEST: usize = 64;
    let host = gethostname::gethostname();
    let name: String = text::plain(&host.to_string_lossy())
        .chars()
        .take(LONGEST)
        .collect();
    ClientInfo {
        display_name: Some(name).filter(|name| !name.trim().is_empty()),
        ..client_info(id, mode)
    }
}

/// Who a node says it is.
pub(crate) fn node_info() -> ClientInfo {
    let family = match std::env::consts::OS {
        "linux" => Some("Linux"),
        "macos" => Some("Mac"),
        "windows" => Some("Windows"),
        _ => None,
    };
    ClientInfo {
        device_family: family.map(str::to_owned),
        ..device_info(ClientId::NodeHost, ClientMode::Node)
    }
}

/// The least that these methods need.
pub(crate) fn scopes(methods: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for method in methods {
        let needed: &[Scope] = match METHODS.iter().find(|spec| spec.name == *method) {
            None => &EVERYTHING,
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
