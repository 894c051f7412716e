//! From flags to something with the shape of `gateway.remote`, checked before it is written anywhere.

use std::path::Path;

use clawgate_core::config::{EnvVars, RemoteConfig, SecretInput, read_remote};
use clawgate_core::credentials::{CredentialError, RemoteFault, check_remote};
use clawgate_core::policy::SecretKind;
use clawgate_core::secret::Secret;
use serde_json::{Map, Value, json};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::remote_args::RemoteFields;
use crate::secrets;

/// What belongs to one target and to no other: credentials, pins, and how much its SSH host is trusted.
const OF_THE_TARGET: [&str; 6] = [
    "token",
    "password",
    "edgeAuth",
    "tlsFingerprint",
    "tlsTrust",
    "sshHostKeyPolicy",
];

/// What comes out of the flags.
#[derive(Debug)]
pub(crate) struct Built {
    /// The entry, which may hold secrets.
    pub(crate) entry: Value,
    /// Fields of the target before that were left out.
    pub(crate) left_out: Vec<&'static str>,
}

/// Changes an entry by the flags, and checks what clients would do with it.
///
/// # Errors
/// When a file cannot be read, or clients would refuse what came out.
pub(crate) fn build(
    fields: &RemoteFields,
    before: Option<&Value>,
    env: &EnvVars,
) -> Result<Built, Failure> {
    let mut entry: Map<String, Value> = before
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let differs = |name: &str, given: Option<&String>| {
        let old = entry.get(name).and_then(Value::as_str).map(str::trim);
        matches!((old, given), (Some(old), Some(given)) if old != given.trim())
    };
    let is_other =
        differs("url", fields.url.as_ref()) || differs("sshTarget", fields.ssh_target.as_ref());
    let mut left_out = Vec::new();
    if is_other && !fields.keep_credentials {
        for name in OF_THE_TARGET {
            if entry.remove(name).is_some() {
                left_out.push(name);
            }
        }
    }
    for (name, text) in [
        ("url", &fields.url),
        ("transport", &fields.transport),
        ("sshTarget", &fields.ssh_target),
        ("sshIdentity", &fields.ssh_identity),
        ("sshHostKeyPolicy", &fields.ssh_host_key_policy),
        ("tlsTrust", &fields.tls_trust),
    ] {
        if let Some(text) = text {
            entry.insert(name.into(), json!(text.trim()));
        }
    }
    if let Some(port) = fields.remote_port {
        entry.insert("remotePort".into(), json!(port));
    }
    match fields.tls_fingerprint.as_slice() {
        [] => {}
        [one] => drop(entry.insert("tlsFingerprint".into(), json!(one))),
        several => drop(entry.insert("tlsFingerprint".into(), json!(several))),
    }
    for (kind, file, reference) in [
        (SecretKind::Token, &fields.token_file, &fields.token_ref),
        (
            SecretKind::Password,
            &fields.password_file,
            &fields.password_ref,
        ),
    ] {
        let value = match (file, reference) {
            (Some(path), _) => literal(&secrets::read_file(kind, path)?, kind.as_str())?,
            (None, Some(text)) => reference_of(text)?,
            (None, None) => continue,
        };
        entry.insert(kind.as_str().into(), value);
    }
    let mut headers = Map::new();
    for text in &fields.edge_auth_file {
        let (name, path) = pair(text)?;
        let secret = secrets::read_file(SecretKind::Token, Path::new(path))?;
        headers.insert(name.into(), literal(&secret, name)?);
    }
    for text in &fields.edge_auth_ref {
        let (name, reference) = pair(text)?;
        headers.insert(name.into(), reference_of(reference)?);
    }
    if !headers.is_empty() {
        entry.insert("edgeAuth".into(), Value::Object(headers));
    }
    let entry = Value::Object(entry);
    check(&entry, env)?;
    Ok(Built { entry, left_out })
}

/// Reads an entry as clients do, and refuses what they would refuse.
///
/// # Errors
/// With the first thing that is wrong.
pub(crate) fn check(entry: &Value, env: &EnvVars) -> Result<RemoteConfig, Failure> {
    let remote = read_remote(entry, env).map_err(|issues| {
        let issue = issues.first().map_or_else(String::new, |issue| {
            format!("{}: {}", issue.path, issue.message)
        });
        usage("config_value_invalid", format!("{issue}."), "Correct it.")
    })?;
    match check_remote(&remote, env) {
        Ok(()) => Ok(remote),
        Err(RemoteFault::Ssh(error)) => Err(usage(
            "invalid_ssh_target",
            format!("--ssh-target: {error}."),
            "Write USER@HOST or USER@HOST:PORT.",
        )),
        Err(RemoteFault::Refused(CredentialError::RemoteUrlMissing)) => Err(usage(
            "remote_url_missing",
            "There is no URL.".to_owned(),
            "Add --url, as in --url wss://gateway.example.com.",
        )),
        Err(RemoteFault::Refused(error)) => {
            let next = error.next_step();
            Err(usage(error.code(), error.message(), &next))
        }
    }
}

/// The secret itself, as it may stand in a config.
fn literal(secret: &Secret, what: &str) -> Result<Value, Failure> {
    match SecretInput::from_text(secret.expose()) {
        SecretInput::Plain(_) => Ok(json!(secret.expose())),
        SecretInput::Absent
        | SecretInput::Blank
        | SecretInput::Embedded(_)
        | SecretInput::Ref(_) => Err(usage(
            "secret_looks_like_reference",
            format!(
                "The {what} would be read as a reference in a config, since it has ${{NAME}} in it."
            ),
            "Give a reference to it instead.",
        )),
    }
}

/// `SOURCE:PROVIDER:ID`.
fn reference_of(text: &str) -> Result<Value, Failure> {
    let mut parts = text.trim().splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(source @ ("env" | "file" | "exec")), Some(provider), Some(id))
            if !provider.is_empty() && !id.is_empty() =>
        {
            Ok(json!({ "source": source, "provider": provider, "id": id }))
        }
        _ => Err(usage(
            "invalid_reference",
            format!("{text:?} is no reference."),
            "Write SOURCE:PROVIDER:ID with the source env, file or exec, as in env:default:GW_TOKEN.",
        )),
    }
}

fn pair(text: &str) -> Result<(&str, &str), Failure> {
    text.split_once('=').ok_or_else(|| {
        usage(
            "invalid_header",
            format!("{text:?} names no header."),
            "Write NAME=PATH or NAME=REF, as in --edge-auth-ref X-Key=env:default:EDGE_KEY.",
        )
    })
}

fn usage(code: &'static str, message: String, next: &str) -> Failure {
    Failure::new(Exit::Usage, code, message, next)
}
