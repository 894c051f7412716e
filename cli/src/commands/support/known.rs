//! Every secret that this machine knows, so that none is handed over.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use clawgate_core::agent::Agents;
use clawgate_core::channel::Channels;
use clawgate_core::config::{ConfigFile, EnvVars, SecretInput, names_a_secret};
use clawgate_core::credentials::{RefAccess, wanted_refs};
use clawgate_core::policy::TlsFiles;
use clawgate_core::secret::Secret;
use clawgate_core::secrets::WantedRef;
use clawgate_core::support::Search;
use serde_json::Value;

use crate::context::Context;
use crate::references::with_references;
use crate::service::EnvFile;
use crate::target::TargetFlags;

/// The longest file that is looked into for secrets.
const MAX_FILE: u64 = 1024 * 1024;

pub(super) fn secrets(flags: &TargetFlags, context: &Context) -> Search {
    let mut search = Search::default();
    for (name, secret) in flags.given_secrets() {
        search.add(name, secret);
    }
    for name in context.env.names().filter(|name| names_a_secret(name)) {
        if let Some(value) = context.env.non_blank(name) {
            search.add(name, &Secret::new(value));
        }
    }
    if let Ok(file) = context.config_file() {
        of_config(&file.parsed, "", false, &context.env, &mut search);
        of_references(file, &context.env, &mut search);
    }
    if let Ok(places) = context.locations() {
        of_own_folder(&places.own, &mut search);
        of_older_configs(&places.config, &context.env, &mut search);
        if let Ok(file) = context.config_file()
            && let Ok(files) = TlsFiles::of_config(&file.config.gateway.tls, places, &context.env)
        {
            of_pem(&files.key, &mut search);
        }
    }
    search
}

/// Whatever stands under the name of a secret, and the variables that are named there.
fn of_config(value: &Value, path: &str, secret: bool, env: &EnvVars, search: &mut Search) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = match path {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                of_config(value, &path, secret || names_a_secret(key), env, search);
            }
        }
        Value::Array(items) => {
            for item in items {
                of_config(item, path, secret, env, search);
            }
        }
        Value::String(text) => match SecretInput::from_text(text) {
            SecretInput::Ref(reference) => {
                if let Some(value) = env.non_blank(&reference.id) {
                    search.add(&reference.id, &Secret::new(value));
                }
            }
            SecretInput::Plain(value) | SecretInput::Embedded(value)
                if secret && !is_a_name(path) =>
            {
                search.add(path, &value);
            }
            SecretInput::Absent
            | SecretInput::Blank
            | SecretInput::Plain(_)
            | SecretInput::Embedded(_) => {}
        },
        Value::Number(number) if secret => search.add(path, &Secret::new(number.to_string())),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The parts of a reference object say where a secret is, and are none.
fn is_a_name(path: &str) -> bool {
    [".source", ".provider", ".id"]
        .iter()
        .any(|end| path.ends_with(end))
}

/// The values of references in files and programs, which a gateway would read as well.
fn of_references(file: &ConfigFile, env: &EnvVars, search: &mut Search) {
    let all: RefCell<BTreeSet<WantedRef>> = RefCell::default();
    let values = with_references(&file.config.secrets, env, |values| {
        let access = RefAccess::Available(values);
        // Nothing is run, so nothing has to be spread.
        let seed = [0; 32];
        let mut wanted = wanted_refs(&file.config, env, access);
        wanted.extend(Channels::build(&file.config, env, access, seed).wanted);
        wanted.extend(Agents::build(&file.config, env, access, seed).wanted);
        all.borrow_mut().extend(wanted.iter().cloned());
        (values.clone(), wanted)
    });
    for wanted in all.into_inner() {
        if let Some(Ok(value)) = values.get(&wanted) {
            let name = format!(
                "{}:{}:{}",
                wanted.source.as_str(),
                wanted.provider,
                wanted.id
            );
            search.add(&name, value);
        }
    }
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(MAX_FILE)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

/// Tokens, keys and passwords that the gateway and its clients keep.
fn of_own_folder(own: &Path, search: &mut Search) {
    let Ok(entries) = fs::read_dir(own) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(name) = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
        else {
            continue;
        };
        match path.extension().and_then(|end| end.to_str()) {
            Some("token") => of_text_file(&path, &name, search),
            Some("json") => of_json_file(&path, &name, search),
            Some("key") => {
                if let Some(bytes) = bytes(&path) {
                    search.add_bytes(&name, &bytes);
                }
            }
            Some("env") => {
                let text = bytes(&path).unwrap_or_default();
                let text = String::from_utf8_lossy(&text).into_owned();
                for (variable, value) in EnvFile::parse(&text).unwrap_or_default().iter() {
                    if names_a_secret(variable) {
                        search.add(variable, value);
                    }
                }
            }
            Some(_) | None => {}
        }
    }
}

/// What stood in the config before: backups lie beside it.
fn of_older_configs(config: &Path, env: &EnvVars, search: &mut Search) {
    let (Some(folder), Some(name)) = (config.parent(), config.file_name()) else {
        return;
    };
    let start = format!("{}.", name.to_string_lossy());
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(&start) {
            continue;
        }
        let text = bytes(&entry.path()).unwrap_or_default();
        if let Ok(file) = ConfigFile::parse(name.clone(), String::from_utf8_lossy(&text)) {
            of_config(&file.parsed, &name, false, env, search);
        }
    }
}

fn of_text_file(path: &Path, name: &str, search: &mut Search) {
    if let Ok(text) = fs::read_to_string(path) {
        search.add(name, &Secret::new(text));
    }
}

/// Every text in the file that could be a token.
fn of_json_file(path: &Path, name: &str, search: &mut Search) {
    fn walk(value: &Value, name: &str, secret: bool, search: &mut Search) {
        match value {
            Value::String(text) if secret => search.add(name, &Secret::new(text)),
            Value::Array(items) => {
                for item in items {
                    walk(item, name, secret, search);
                }
            }
            Value::Object(fields) => {
                for (key, value) in fields {
                    walk(value, name, secret || names_a_secret(key), search);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    if let Some(document) = bytes(path).and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        let document: Value = document;
        walk(&document, name, false, search);
    }
}

/// Each line of a private key is enough of it to be looked for.
fn of_pem(path: &Path, search: &mut Search) {
    let Ok(text) = fs::read_to_string(path) else {
        return;
    };
    let lines = text.lines().map(str::trim);
    for line in lines.filter(|line| line.len() >= 32 && !line.starts_with('-')) {
        search.add("the key of the certificate", &Secret::new(line));
    }
}
