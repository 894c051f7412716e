//! A body for secret references: a config, and what the files and programs that it names give.

use std::collections::BTreeSet;

use clawgate_core::config::{Config, ConfigFile, EnvVars};
use clawgate_core::credentials::{
    RefAccess, Request, SecretPath, Source, Surface, resolve, shown_refs,
};
use clawgate_core::policy::SecretKind;
use clawgate_core::policy::server_auth::{AuthOverride, ServerSecretSource};
use clawgate_core::policy::startup_auth::{StartupAuthError, resolve_startup_auth};
use clawgate_core::secrets::{ProgramEnd, RefValues, SecretRead, WantedRef, plan};
use serde_json::Value;
use zeroize::Zeroizing;

/// The variables of every world.
const VARIABLES: [(&str, &str); 3] = [
    ("HOME", "/home/ada"),
    ("GW_TOKEN", "value-of-gw-token"),
    ("BLANK", " "),
];

/// The bytes are, line by line: the config, the content of every file, and the output of every
/// program after its exit code. Whatever they are, every reference that is asked for gets a value or
/// a fault, no value shows in a message, and nothing stands in for a reference without a value.
pub fn secret_ref(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (config, content, output) = (part(), part(), part());
    let Ok(text) = std::str::from_utf8(config) else {
        return;
    };
    let env: EnvVars = VARIABLES.into_iter().collect();
    let Ok(file) = ConfigFile::parse_with("openclaw.json", text, &env) else {
        return;
    };
    let world = World {
        text,
        config: &file.config,
        env: &env,
        content,
        output,
    };
    for finding in file.issues.iter().chain(&file.warnings) {
        world.hides(&finding.to_string());
    }
    for surface in [
        Surface::Call,
        Surface::Probe,
        Surface::NodeHost,
        Surface::ExecApprovals,
    ] {
        world.client(surface);
    }
    world.server();
}

struct World<'a> {
    text: &'a str,
    config: &'a Config,
    env: &'a EnvVars,
    content: &'a [u8],
    output: &'a [u8],
}

impl World<'_> {
    fn client(&self, surface: Surface) {
        self.until_settled(|values| {
            let mut request = Request::new(surface, self.env, self.config);
            request.refs = RefAccess::Available(values);
            let answer = resolve(&request);
            self.hides(&format!("{answer:?}"));
            match &answer.outcome {
                Ok(target) => {
                    for warning in target.warnings() {
                        self.hides(&warning.to_string());
                    }
                    for kind in [SecretKind::Token, SecretKind::Password] {
                        let path = match kind {
                            SecretKind::Token => SecretPath::AuthToken,
                            SecretKind::Password => SecretPath::AuthPassword,
                        };
                        let local = !self.config.gateway.mode.is_remote();
                        let masked = target.auth().source(kind) == Some(Source::ConfigRemote);
                        let meant = self.config.secret_input(path).is_configured();
                        assert!(!(local && meant && masked), "{path} is masked");
                    }
                }
                Err(error) => self.hides(&error.to_string()),
            }
            for shown in shown_refs(self.config, self.env, request.refs) {
                self.hides(&shown.describe());
            }
            answer.wanted
        });
    }

    fn server(&self) {
        let over = AuthOverride::default();
        self.until_settled(|values| {
            let refs = RefAccess::Available(values);
            match resolve_startup_auth(self.config, self.env, &over, refs, [7; 24]) {
                Ok(started) => {
                    let generated = started
                        .auth
                        .token
                        .as_ref()
                        .is_some_and(|token| token.source == ServerSecretSource::Generated);
                    let meant = self.config.gateway.auth.token.is_configured();
                    assert!(!(generated && meant), "a made token stands in");
                    for over in &started.passed_over {
                        self.hides(&over.to_string());
                    }
                    started.wanted
                }
                Err(error) => {
                    self.hides(&format!("{error} {error:?}"));
                    match error {
                        StartupAuthError::RefUnresolved { wanted, .. } => wanted,
                        StartupAuthError::AmbiguousMode
                        | StartupAuthError::KnownWeak { .. }
                        | StartupAuthError::TextAroundTemplate(_) => Vec::new(),
                    }
                }
            }
        });
    }

    /// Asks a rule and reads for it until it wants nothing more.
    fn until_settled(&self, mut rule: impl FnMut(&RefValues) -> Vec<WantedRef>) {
        let mut values = RefValues::new();
        let mut asked = BTreeSet::new();
        loop {
            let wanted = rule(&values);
            if wanted.is_empty() {
                return;
            }
            for wanted in &wanted {
                assert!(asked.insert(wanted.clone()), "{wanted:?} is wanted again");
            }
            let headers = self.config.gateway.remote.edge_auth.iter().flatten();
            assert!(asked.len() <= SecretPath::ALL.len() + headers.count());
            for read in plan(&wanted, &self.config.secrets, self.env, &mut values) {
                self.carry_out(&read, &mut values);
            }
            for wanted in &wanted {
                let Some(outcome) = values.get(wanted) else {
                    panic!("{wanted:?} is neither read nor broken");
                };
                match outcome {
                    Ok(value) => assert!(!value.expose().trim().is_empty(), "{wanted:?} is blank"),
                    Err(fault) => self.hides(&format!("{fault} {fault:?} {}", fault.next_step())),
                }
            }
            self.hides(&format!("{values:?}"));
        }
    }

    fn carry_out(&self, read: &SecretRead, values: &mut RefValues) {
        match read {
            SecretRead::File(read) => {
                assert!(read.path().is_absolute());
                assert!(!read.timeout().is_zero() && read.max_bytes() > 0);
                read.settle(Ok(self.content), values);
            }
            SecretRead::Program(run) => {
                assert!(run.command().is_absolute());
                assert!(!run.timeout().is_zero() && run.max_output() > 0);
                let question: Value = serde_json::from_slice(run.input()).unwrap_or_default();
                let ids = question.get("ids").and_then(Value::as_array);
                assert!(ids.is_some_and(|ids| !ids.is_empty()), "{question}");
                for (name, value) in run.variables() {
                    assert!(!name.contains(['=', '\0']) && !name.is_empty(), "{name:?}");
                    assert!(!value.expose().contains('\0'));
                }
                let (code, output) = self.output.split_first().unwrap_or((&0, &[]));
                let end = ProgramEnd {
                    code: Some(i32::from(*code)),
                    output: Zeroizing::new(output.to_vec()),
                };
                run.settle(Ok(end), values);
            }
        }
    }

    /// No piece of what was read shows, unless the config or a message of ours says the same.
    fn hides(&self, shown: &str) {
        const LONG: usize = 12;
        for secret in [self.content, self.output] {
            let Ok(secret) = std::str::from_utf8(secret) else {
                continue;
            };
            for word in secret.split(|c: char| !c.is_ascii_alphanumeric()) {
                let marked = word.len() >= LONG && word.contains("hunter2");
                if marked && !self.text.contains(word) {
                    assert!(!shown.contains(word), "{word} shows in {shown}");
                }
            }
        }
    }
}
