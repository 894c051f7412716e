//! `devices join`: one connection with a join token, and the device token that comes of it.

use std::io::{self, Read};
use std::sync::Arc;

use clawgate_core::client::{Profile, Route, SetupCode, SetupCodeError, Target as ClientTarget};
use clawgate_core::config::EnvVars;
use clawgate_core::credentials::GatewayKey;
use clawgate_core::device::DeviceIdentity;
use clawgate_core::policy::endpoint::BREAK_GLASS_ENV;
use clawgate_core::policy::{Endpoint, PinBook, PinPlace, TlsPins, TlsTrust, UrlPolicy};
use clawgate_core::protocol::{AuthParams, ClientId, ClientMode, Role};
use clawgate_core::secret::Secret;
use clawgate_std::Connection;
use serde_json::json;

use crate::context::Context;
use crate::device::DeviceFiles;
use crate::device_args::JoinArgs;
use crate::dial::{self, device_info};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::pins::PinFile;
use crate::refusal;
use crate::text::Sheet;

/// The most bytes of a code on standard input.
const MAX_INPUT: u64 = 64 * 1024;

/// Where to, by which token.
struct Joining {
    endpoint: Endpoint,
    token: Secret,
    trust: TlsTrust,
}

/// What came of it.
pub(in crate::commands) struct Joined {
    pub(in crate::commands) endpoint: Endpoint,
    identity: Arc<DeviceIdentity>,
    scopes: Vec<String>,
}

/// Joins, and keeps the token.
pub(in crate::commands) fn join(args: &JoinArgs, context: &Context) -> Result<Joined, Failure> {
    let places = context.locations()?;
    let named = context.named_by_flag()?;
    let files = DeviceFiles::of(places, named.as_ref().map(|named| &named.name));
    let pins = PinFile::of(places);
    let role = Role::from(args.role);
    let joining = read(args, &context.env, &pins.read()?)?;
    let identity = files.identity_or_new()?;
    let profile = match role {
        Role::Node => Profile::node(dial::node_info(), Arc::clone(&identity)),
        Role::Operator => Profile {
            device: Some(Arc::clone(&identity)),
            ..Profile::operator(device_info(ClientId::Cli, ClientMode::Cli), scopes(args))
        },
    };
    let Joining {
        endpoint,
        token,
        trust,
    } = joining;
    let route = Route::new(endpoint.clone(), trust.clone())
        .map_err(|error| usage("tls_fingerprint_requires_wss", &error.to_string()))?;
    let auth = AuthParams {
        bootstrap_token: Some(token.clone()),
        ..AuthParams::default()
    };
    let target = ClientTarget::new(route, auth, None);
    let connection = Connection::open(&target, profile, dial::options(args.timeout))
        .map_err(|error| refusal::join(&error).without(&[&token]))?;
    let hello = connection.hello().clone();
    connection.close();
    let Some(issued) = &hello.device_token else {
        return Err(Failure::new(
            Exit::Refused,
            "no_device_token",
            format!(
                "{} let this device in and gave it no token.",
                endpoint.url()
            ),
            "Look at the gateway's log.",
        ));
    };
    files.remember(target.route(), (&identity, role), issued);
    if let TlsTrust::Pinned(pinned) = &trust
        && let Some(pin) = pinned.iter().next()
    {
        // Later commands find the pin, without which the token is not sent.
        pins.remember(&endpoint, *pin)?;
    }
    Ok(Joined {
        endpoint,
        identity,
        scopes: hello.scopes.unwrap_or_default(),
    })
}

pub(super) fn run(args: &JoinArgs, context: &Context) -> Result<Exit, Failure> {
    let role = Role::from(args.role);
    let Joined {
        endpoint,
        identity,
        scopes,
    } = join(args, context)?;
    match context.format {
        Format::Json => output::json(&json!({
            "ok": true,
            "gateway": endpoint.url(),
            "key": GatewayKey::of(&endpoint).to_string(),
            "deviceId": identity.id().as_str(),
            "role": role,
            "scopes": scopes,
        }))?,
        Format::Text => {
            let mut sheet = Sheet::default();
            sheet.line("Joined", endpoint.url());
            sheet.line("Device", identity.id().as_str());
            sheet.line("Role", role.as_str());
            if !scopes.is_empty() {
                sheet.line("Scopes", scopes.join(","));
            }
            output::text(&sheet.to_text())?;
        }
    }
    Ok(Exit::Ok)
}

/// Everything, of which a gateway gives what the join token is for; or what was asked for.
fn scopes(args: &JoinArgs) -> Vec<String> {
    let asked = args.scopes.as_deref().unwrap_or(&dial::EVERYTHING);
    asked.iter().map(|scope| scope.as_str().into()).collect()
}

fn read(args: &JoinArgs, env: &EnvVars, pins: &PinBook) -> Result<Joining, Failure> {
    let policy = UrlPolicy::from_env(env.get(BREAK_GLASS_ENV));
    let code = if args.code == "-" {
        let mut text = String::new();
        io::stdin()
            .lock()
            .take(MAX_INPUT)
            .read_to_string(&mut text)
            .map_err(|error| usage("stdin", &error.to_string()))?;
        Secret::new(text)
    } else {
        Secret::new(args.code.as_str())
    };
    let url = args.url.as_deref().map(str::trim);
    let given = url
        .map(|url| {
            Endpoint::parse(url, policy).map_err(|refusal| {
                Failure::new(
                    Exit::Usage,
                    "insecure_url",
                    refusal.reason(),
                    refusal.next_step(),
                )
            })
        })
        .transpose()?;
    let (endpoint, token, pin) = match (SetupCode::parse(code.expose(), policy), given) {
        (Ok(code), given) => (given.unwrap_or(code.endpoint), code.token, code.pin),
        (Err(_), Some(endpoint)) => {
            let token = Secret::non_blank(code.expose())
                .ok_or_else(|| usage("join_token_missing", "there is no join token"))?;
            (endpoint, token, None)
        }
        (Err(SetupCodeError::Malformed), None) => {
            return Err(Failure::new(
                Exit::Usage,
                "setup_code_invalid",
                "This is no setup code.",
                "For a join token alone, add --url with the gateway's URL. `clawgate devices \
                 invite` on the gateway's host makes a new code.",
            ));
        }
        (Err(error @ (SetupCodeError::Pin | SetupCodeError::Url(_))), None) => {
            return Err(usage("setup_code_invalid", &error.to_string()));
        }
    };
    let flag = args
        .tls_fingerprint
        .as_deref()
        .map(|text| TlsPins::parse([text]))
        .transpose()
        .map_err(|error| usage("invalid_tls_fingerprint", &error.to_string()))?;
    let stored = endpoint
        .is_tls()
        .then(|| pins.get(&PinPlace::of(&endpoint)))
        .flatten();
    let trust = flag
        .or_else(|| pin.map(TlsPins::from))
        .or_else(|| stored.map(|stored| TlsPins::from(stored.sha256)))
        .map_or(TlsTrust::Authorities, TlsTrust::Pinned);
    Ok(Joining {
        endpoint,
        token,
        trust,
    })
}

fn usage(code: &'static str, why: &str) -> Failure {
    Failure::new(
        Exit::Usage,
        code,
        format!("{}.", crate::text::capitalised(why)),
        "`clawgate devices join --help` shows how.",
    )
}
