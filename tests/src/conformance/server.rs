//! Cases about the auth, the port and the addresses of a gateway.

use std::net::IpAddr;

use clawgate_core::config::paths::Profile;
use clawgate_core::config::{AuthMode, Config, SecretInput};
use clawgate_core::credentials::RefAccess;
use clawgate_core::policy::bind::{HostFacts, Ipv6Loopback, Surroundings, listen_hosts};
use clawgate_core::policy::port::{gateway_port, parse_port_option};
use clawgate_core::policy::server_auth::{
    AuthOverride, ServerAuth, ServerSecret, resolve_server_auth,
};
use clawgate_core::policy::startup::resolve_runtime;
use clawgate_core::policy::startup_auth::{GENERATED_TOKEN_BYTES, resolve_startup_auth};
use clawgate_core::secrets::RefValues;
use serde_json::{Map, Value, json};

use super::{config_of, env_of, labelled};

/// Answers one case, or gives `None` when the function is not one of this file.
pub fn call(function: &str, given: &Value) -> Option<Value> {
    match function {
        "server_auth" => Some(server_auth(given)),
        "server_startup_auth" => Some(startup_auth(given)),
        "resolve_runtime" => Some(runtime(given)),
        "listen_hosts" => listen(given),
        "resolve_gateway_port" => Some(port(given)),
        "parse_port_option" => Some(port_option(given)),
        _ => None,
    }
}

fn server_auth(given: &Value) -> Value {
    let config = config_of(given);
    let auth = resolve_server_auth(&config.gateway, &env_of(given), &auth_override(given));
    Value::Object(of_auth(&auth))
}

fn startup_auth(given: &Value) -> Value {
    let values = RefValues::new();
    let started = resolve_startup_auth(
        &config_of(given),
        &env_of(given),
        &auth_override(given),
        RefAccess::Available(&values),
        [0xa5; GENERATED_TOKEN_BYTES],
    );
    match started {
        Ok(started) => {
            let mut answer = of_auth(&started.auth);
            let mut put = |name: &str, value| answer.insert(name.to_owned(), value);
            let generated = started.generated();
            put("generated", json!(generated.is_some()));
            if let Some(token) = generated {
                // The cases know a made token by its form only.
                let token = token.expose();
                let hex = token.chars().all(|c| c.is_ascii_hexdigit());
                let form = if hex { "hex" } else { "characters" };
                put(
                    "token",
                    json!(format!("<generated:{} {form}>", token.len())),
                );
                put("token_source", json!("generated"));
                // Nothing is written: the function is pure, and gives no config back.
                put("persisted", json!(false));
            }
            Value::Object(answer)
        }
        Err(error) => json!({
            "token": null,
            "token_source": "none",
            "password": null,
            "password_source": "none",
            "error": error.code(),
            "error_path": error.path().map(|path| path.as_str()),
        }),
    }
}

/// `options.authOverride`, in the spelling of `gateway.auth`.
fn auth_override(given: &Value) -> AuthOverride {
    let auth = given
        .get("options")
        .and_then(|options| options.get("authOverride"));
    let auth = Config::from_value(&json!({ "gateway": { "auth": auth } }))
        .gateway
        .auth;
    let plain = |input: &SecretInput| input.plain().cloned();
    AuthOverride {
        mode: auth.mode,
        token: plain(&auth.token),
        password: plain(&auth.password),
        allow_tailscale: auth.allow_tailscale,
    }
}

fn of_auth(auth: &ServerAuth) -> Map<String, Value> {
    let shown = |secret: &Option<ServerSecret>| match secret {
        Some(ServerSecret { secret, source }) => (
            json!(secret.expose()),
            labelled(secret.expose(), source.as_str()),
        ),
        None => (Value::Null, "none"),
    };
    let (token, token_source) = shown(&auth.token);
    let (password, password_source) = shown(&auth.password);
    [
        ("token", token),
        ("token_source", json!(token_source)),
        ("password", password),
        ("password_source", json!(password_source)),
        ("error", Value::Null),
        ("mode", json!(auth.mode.as_str())),
        ("mode_source", json!(auth.mode_source.as_str())),
        ("allow_tailscale", json!(auth.allow_tailscale)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn runtime(given: &Value) -> Value {
    let config = config_of(given);
    let auth = resolve_server_auth(&config.gateway, &env_of(given), &auth_override(given));
    let facts = given.get("host_facts").unwrap_or(&Value::Null);
    let bindable = facts.get("bindable").and_then(Value::as_array);
    let facts = HostFacts {
        surroundings: match facts.get("container_detected").and_then(Value::as_bool) {
            Some(true) => Surroundings::Container,
            Some(false) | None => Surroundings::Machine,
        },
        tailnet_ipv4: facts
            .get("tailnet_ipv4")
            .and_then(Value::as_str)
            .and_then(|ip| ip.parse().ok()),
        // An address with a question mark may or may not be there.
        bindable: bindable
            .into_iter()
            .flatten()
            .filter_map(|ip| ip.as_str()?.parse().ok())
            .collect(),
    };
    match resolve_runtime(&config.gateway, auth, &facts) {
        Ok(runtime) => json!({
            "bind_host": runtime.bind_host.to_string(),
            "mode": AuthMode::as_str(runtime.auth.mode),
            "tailscale": runtime.tailscale.as_str(),
        }),
        Err(refusal) => json!({ "error": refusal.code() }),
    }
}

fn listen(given: &Value) -> Option<Value> {
    let host: IpAddr = given.get("bind_host")?.as_str()?.parse().ok()?;
    let ipv6 = match given.get("ipv6_loopback_bindable")?.as_bool()? {
        true => Ipv6Loopback::Bindable,
        false => Ipv6Loopback::Unavailable,
    };
    let hosts: Vec<String> = listen_hosts(host, ipv6)
        .iter()
        .map(ToString::to_string)
        .collect();
    Some(json!({ "hosts": hosts }))
}

fn port(given: &Value) -> Value {
    let env = env_of(given);
    let profile = Profile::choose(None, false, &env).unwrap_or_default();
    let config = config_of(given).gateway.port;
    json!({ "port": gateway_port(None, &env, config, &profile).port })
}

fn port_option(given: &Value) -> Value {
    let value = given
        .get("value")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match parse_port_option(value) {
        Ok(port) => json!({ "port": port }),
        Err(error) => json!({ "error": error.code() }),
    }
}
