//! Cases about client credentials.

use clawgate_core::config::paths::Profile;
use clawgate_core::credentials::{
    Chosen, CredentialError, KindOrder, LocalOrder, Mode, Order, RefAccess, RemoteFallback,
    RemoteOrder, Request, Selection, Surface, Target, Warning, resolve, select_by_order,
};
use clawgate_core::policy::SecretKind;
use clawgate_core::secret::Secret;
use serde_json::{Map, Value, json};

use super::{config_of, env_of, labelled};

/// Answers one case, or gives `None` when the function is not one of this file.
pub fn call(function: &str, given: &Value) -> Option<Value> {
    match function {
        "client_credentials" => client_credentials(given),
        _ => None,
    }
}

fn client_credentials(given: &Value) -> Option<Value> {
    let surface = match given.get("surface").and_then(Value::as_str)? {
        "call" => Surface::Call,
        "probe" => Surface::Probe,
        "status" => Surface::Status,
        "node_host" => Surface::NodeHost,
        "exec_approvals" => Surface::ExecApprovals,
        "resolver" => return Some(resolver(given)),
        _ => return None,
    };
    let env = env_of(given);
    let config = config_of(given);
    let profile = Profile::choose(None, false, &env).unwrap_or_default();
    let (token, password) = (flag(given, "token"), flag(given, "password"));
    let (token, password) = (token.map(Secret::new), password.map(Secret::new));
    let mut request = Request::new(surface, &env, &config);
    request.flags.url = flag(given, "url");
    request.flags.token = token.as_ref();
    request.flags.password = password.as_ref();
    request.flags.port = given
        .get("cli")
        .and_then(|cli| cli.get("port")?.as_u64())
        .and_then(|port| u16::try_from(port).ok());
    request.flags.tls_fingerprint = flag(given, "tlsFingerprint");
    request.profile = &profile;
    Some(match resolve(&request).outcome {
        Ok(target) => of_target(&target),
        Err(error) => of_error(&error),
    })
}

fn flag<'a>(given: &'a Value, name: &str) -> Option<&'a str> {
    given.get("cli")?.get(name)?.as_str()
}

fn of_target(target: &Target) -> Value {
    let auth = target.auth();
    let shown = |kind, secret: Option<&Secret>| {
        let value = secret.map(Secret::expose);
        let source = match (value, auth.source(kind)) {
            (Some(value), Some(source)) => labelled(value, source.as_str()),
            _ => "none",
        };
        (json!(value), json!(source))
    };
    let (token, token_source) = shown(SecretKind::Token, auth.token());
    let (password, password_source) = shown(SecretKind::Password, auth.password());
    let mut answer = json!({
        "token": token,
        "token_source": token_source,
        "password": password,
        "password_source": password_source,
        "error": null,
        "url": target.endpoint().url(),
        "url_source": target.url_source().as_str(),
        "tls_fingerprint": target.tls_pins().map(ToString::to_string),
    });
    // The cases know one warning; the others are ours.
    let probing = target
        .warnings()
        .iter()
        .find(|warning| matches!(warning, Warning::ProbingWithout(_)));
    if let (Some(warning), Value::Object(answer)) = (probing, &mut answer) {
        answer.insert("warning".to_owned(), json!(warning.code()));
        let path = warning.path().map(|path| path.as_str());
        answer.insert("warning_path".to_owned(), json!(path));
    }
    answer
}

fn of_error(error: &CredentialError) -> Value {
    json!({
        "token": null,
        "token_source": "none",
        "password": null,
        "password_source": "none",
        "error": error.code(),
        "error_path": error.path(),
    })
}

/// The bare order, by a resolver that reads no references.
fn resolver(given: &Value) -> Value {
    let env = env_of(given);
    let config = config_of(given);
    let options = given.get("options").and_then(Value::as_object);
    let option = |name: &str| options.and_then(|options: &Map<_, _>| options.get(name)?.as_str());
    let mode = match option("modeOverride") {
        Some("remote") => Mode::Remote,
        Some(_) => Mode::Local,
        None if config.gateway.mode.is_remote() => Mode::Remote,
        None => Mode::Local,
    };
    let shared = Order::shared(&env);
    let order = Order {
        token: kind_order(shared.token, |name| option(&name.replace('#', "Token"))),
        password: kind_order(shared.password, |name| {
            option(&name.replace('#', "Password"))
        }),
        ..shared
    };
    match select_by_order(&config, &env, mode, &order, RefAccess::Unavailable) {
        Ok(selection) => of_selection(given, &selection),
        Err(unavailable) => of_error(&CredentialError::SecretRefUnavailable(unavailable)),
    }
}

/// Options of one kind of credential; `#` stands for the kind in their names.
fn kind_order<'a>(default: KindOrder, option: impl Fn(&str) -> Option<&'a str>) -> KindOrder {
    KindOrder {
        local: match option("local#Precedence").or_else(|| option("localPrecedence")) {
            Some("config-first") => LocalOrder::ConfigFirst,
            Some("env-first") => LocalOrder::EnvFirst,
            _ => default.local,
        },
        remote: match option("remote#Precedence") {
            Some("remote-first") => RemoteOrder::RemoteFirst,
            Some("env-first") => RemoteOrder::EnvFirst,
            _ => default.remote,
        },
        fallback: match option("remote#Fallback") {
            Some("remote-only") => RemoteFallback::RemoteOnly,
            Some("remote-env-local") => RemoteFallback::EnvAndLocal,
            _ => default.fallback,
        },
    }
}

/// A selection keeps its secrets to itself, so the values are found again among those given.
fn of_selection(given: &Value, selection: &Selection) -> Value {
    let shown = |chosen: Option<&Chosen>| match chosen {
        Some(chosen) => {
            let mut values = Vec::new();
            strings_in(given, &mut values);
            let value = values.into_iter().find(|value| chosen.is(value));
            let source = labelled(value.unwrap_or_default(), chosen.source().as_str());
            (json!(value), source)
        }
        None => (Value::Null, "none"),
    };
    let (token, token_source) = shown(selection.token.as_ref());
    let (password, password_source) = shown(selection.password.as_ref());
    json!({
        "token": token,
        "token_source": token_source,
        "password": password,
        "password_source": password_source,
        "error": null,
    })
}

fn strings_in<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text.trim()),
        Value::Array(items) => items.iter().for_each(|item| strings_in(item, found)),
        Value::Object(object) => object.values().for_each(|item| strings_in(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
