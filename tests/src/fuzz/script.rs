//! Scripts for machines: one operation in each line, its first byte says which.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use clawgate_core::{
    device::{DeviceIdentity, PayloadVersion, SignedFacts},
    frame::encode_request,
    ids::RequestId,
    protocol::{AuthParams, ClientId, ClientInfo, ClientMode, ConnectParams, Role, VersionRange},
    secret::Secret,
    time::{Now, WallTime},
};

/// Longer scripts find nothing more, only later.
const MAX_LINES: usize = 200;

/// The token that the gateway of a script takes.
pub(super) const TOKEN: &str = "fixed-token";

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Keys are dear, and always the same.
static NODE: LazyLock<DeviceIdentity> = LazyLock::new(|| DeviceIdentity::from_seed(&[4; 32]));
static UI: LazyLock<DeviceIdentity> = LazyLock::new(|| DeviceIdentity::from_seed(&[5; 32]));

/// The start of a script's time.
pub(super) fn start() -> Now {
    Now {
        mono: *EPOCH,
        wall: WallTime(1_737_264_000_000),
    }
}

/// The operations and their arguments.
pub(super) fn lines(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    data.split(|byte| *byte == b'\n')
        .filter_map(|line| line.split_first())
        .map(|(operation, argument)| (*operation, argument))
        .take(MAX_LINES)
}

/// An argument as text, where it is text.
pub(super) fn text(argument: &[u8]) -> Option<&str> {
    std::str::from_utf8(argument).ok()
}

/// An argument as a number; what is none counts as 0.
pub(super) fn number(argument: &[u8]) -> u64 {
    std::str::from_utf8(argument)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or_default()
}

/// An argument as milliseconds, up to an hour.
pub(super) fn millis(argument: &[u8]) -> Duration {
    Duration::from_millis(number(argument).min(3_600_000))
}

/// A `connect` that a gateway of this token lets in: `n` is a node with a device, `d` an operator
/// with one, `p` a probe, `w` shows a wrong token; all else is a local CLI. What follows are scopes.
pub(super) fn connect(argument: &[u8], nonce: &str, signed_at: u64) -> String {
    let (kind, scopes) = argument.split_first().unwrap_or((&b'c', b""));
    let (id, mode, role) = match kind {
        b'n' => (ClientId::NodeHost, ClientMode::Node, Role::Node),
        b'd' => (ClientId::OpenclawMacos, ClientMode::Ui, Role::Operator),
        b'p' => (ClientId::OpenclawProbe, ClientMode::Probe, Role::Operator),
        _ => (ClientId::Cli, ClientMode::Cli, Role::Operator),
    };
    let scopes: Vec<String> = String::from_utf8_lossy(scopes)
        .split(',')
        .filter(|scope| !scope.is_empty())
        .map(|scope| format!("operator.{scope}"))
        .collect();
    let client = ClientInfo::new(id, mode, "1", "linux");
    let token = Secret::new(if *kind == b'w' { "wrong" } else { TOKEN });
    let identity = match kind {
        b'n' => Some(&*NODE),
        b'd' => Some(&*UI),
        _ => None,
    };
    let device = identity.map(|identity| {
        let facts = SignedFacts {
            device_id: identity.id().as_str(),
            client: &client,
            role,
            scopes: &scopes,
            signed_at,
            secret: &token,
            nonce,
        };
        identity.prove(&facts, PayloadVersion::V3)
    });
    let params = ConnectParams {
        versions: VersionRange::offered(mode),
        client,
        caps: Vec::new(),
        commands: Vec::new(),
        permissions: std::collections::BTreeMap::new(),
        path_env: None,
        role: Some(role),
        scopes,
        device,
        auth: AuthParams {
            token: Some(token),
            ..AuthParams::default()
        },
        locale: None,
        user_agent: None,
    };
    let params = params
        .encode()
        .unwrap_or_else(|error| panic!("parameters without a JSON form: {error}"));
    encode_request(&RequestId::new("connect"), "connect", &params).to_string()
}
