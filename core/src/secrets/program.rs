//! References to the answers of programs. The program gets the question as one JSON object on its
//! standard input and answers with one on its standard output, as OpenClaw's resolvers do:
//! `{"protocolVersion":1,"provider":"vault","ids":["a"]}` and
//! `{"protocolVersion":1,"values":{"a":"…"},"errors":{"b":{"code":"NOT_FOUND"}}}`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::fault::{PathFault, ProgramFault, RefFault};
use super::plan::whole_path;
use super::pointer::members;
use super::provider::{CommandLink, ExecProvider, OutputShape, PathTrust};
use super::trust::{Standing, lies_in};
use super::values::{RefValues, WantedRef};
use crate::config::EnvVars;
use crate::secret::Secret;

/// A program to run, without a shell. The host resolves the links above it (and at its end where
/// [`link`](Self::link) says so), judges what stands there, and runs it as the leader of a process
/// group of its own, with these variables and no others, in the folder that it lies in, its standard
/// error thrown away. Whatever happens, the whole group is ended before the outcome is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramRun {
    command: PathBuf,
    args: Vec<Secret>,
    variables: Vec<(String, Secret)>,
    input: Vec<u8>,
    timeout: Duration,
    silence: Duration,
    max_output: u64,
    output: OutputShape,
    trusted_dirs: Vec<PathBuf>,
    trust: PathTrust,
    link: CommandLink,
    wanted: Vec<WantedRef>,
}

/// How a program ended by itself.
#[derive(Clone, Debug)]
pub struct ProgramEnd {
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// Everything on its standard output.
    pub output: Zeroizing<Vec<u8>>,
}

impl ProgramRun {
    pub(super) fn new(
        provider: &ExecProvider,
        name: &str,
        wanted: &[WantedRef],
        env: &EnvVars,
    ) -> Result<Self, RefFault> {
        let mut variables: Vec<(String, Secret)> = provider
            .pass_env
            .iter()
            .filter(|name| !provider.env.contains_key(*name))
            .filter_map(|name| Some((name.clone(), Secret::new(env.get(name)?))))
            .collect();
        let set = provider.env.iter();
        variables.extend(set.map(|(name, value)| (name.clone(), value.clone())));
        let ids: Vec<&str> = wanted.iter().map(|wanted| wanted.id.as_str()).collect();
        let input = json!({ "protocolVersion": 1, "provider": name, "ids": ids });
        Ok(Self {
            command: whole_path(&provider.command, env)?,
            args: provider.args.clone(),
            variables,
            input: input.to_string().into_bytes(),
            timeout: provider.timeout,
            silence: provider.silence,
            max_output: provider.max_output,
            output: provider.output,
            trusted_dirs: provider
                .trusted_dirs
                .iter()
                .map(|folder| whole_path(folder, env))
                .collect::<Result<_, _>>()?,
            trust: provider.trust,
            link: provider.link,
            wanted: wanted.to_vec(),
        })
    }

    /// The program, as an absolute path.
    pub fn command(&self) -> &Path {
        &self.command
    }

    /// Its arguments.
    pub fn args(&self) -> &[Secret] {
        &self.args
    }

    /// All of its variables.
    pub fn variables(&self) -> &[(String, Secret)] {
        &self.variables
    }

    /// What is written to its standard input.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// How long it may run.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long it may write nothing.
    pub const fn silence(&self) -> Duration {
        self.silence
    }

    /// How much it may write, in bytes.
    pub const fn max_output(&self) -> u64 {
        self.max_output
    }

    /// Whether a link at the end of its path is followed.
    pub const fn link(&self) -> CommandLink {
        self.link
    }

    /// `trustedDirs`, whose links the host resolves too.
    pub fn trusted_dirs(&self) -> &[PathBuf] {
        &self.trusted_dirs
    }

    /// Whether the program may be run. `real` is its path and `trusted` are the trusted folders that
    /// exist, all without links.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn judge(
        &self,
        real: &Path,
        trusted: &[PathBuf],
        standing: &Standing,
    ) -> Result<(), RefFault> {
        if !self.trusted_dirs.is_empty() && !lies_in(real, trusted) {
            return Err(self.path_fault(PathFault::OutsideTrustedFolders));
        }
        standing
            .of_program(self.trust)
            .map_err(|fault| self.path_fault(fault))
    }

    /// A fault of the program's path.
    pub fn path_fault(&self, fault: PathFault) -> RefFault {
        RefFault::Path {
            path: self.command.clone(),
            fault,
        }
    }

    /// A fault of its run.
    pub fn run_fault(&self, fault: ProgramFault) -> RefFault {
        RefFault::Program {
            path: self.command.clone(),
            fault,
        }
    }

    /// Takes how it ended and fills in the values.
    pub fn settle(&self, outcome: Result<ProgramEnd, RefFault>, values: &mut RefValues) {
        let answer = match &outcome {
            Ok(end) => self.answer(end).map_err(|fault| self.run_fault(fault)),
            Err(fault) => Err(fault.clone()),
        };
        for wanted in &self.wanted {
            let value = match &answer {
                Ok(answer) => answer
                    .value(&wanted.id)
                    .map_err(|fault| self.run_fault(fault)),
                Err(fault) => Err(fault.clone()),
            };
            let value = value.as_ref().map(|value| value.as_str());
            values.insert(wanted.clone(), value.map_err(Clone::clone));
        }
    }

    fn answer<'a>(&self, end: &'a ProgramEnd) -> Result<Answer<'a>, ProgramFault> {
        if end.code != Some(0) {
            return Err(ProgramFault::Failed { code: end.code });
        }
        if end.output.len() as u64 > self.max_output {
            let limit = self.max_output;
            return Err(ProgramFault::TooMuchOutput { limit });
        }
        let text = std::str::from_utf8(&end.output).map_err(|_| ProgramFault::NotUtf8)?;
        let text = text.trim();
        if text.is_empty() {
            return Err(ProgramFault::NoOutput);
        }
        let plain = self.output == OutputShape::JsonOrText && self.wanted.len() == 1;
        if text.starts_with('{') {
            match Protocol::read(text) {
                Err(ProgramFault::NotJson) if plain => Ok(Answer::Text(text)),
                other => other.map(Answer::Protocol),
            }
        } else if !plain {
            Err(match serde_json::from_str::<serde::de::IgnoredAny>(text) {
                Ok(_) => ProgramFault::NotAnAnswer,
                Err(_) => ProgramFault::NotJson,
            })
        } else {
            Ok(Answer::Text(text))
        }
    }
}

enum Answer<'a> {
    Protocol(Protocol<'a>),
    /// The one secret that was asked for, in quotes or not.
    Text(&'a str),
}

struct Protocol<'a> {
    values: std::collections::HashMap<String, &'a serde_json::value::RawValue>,
    errors: std::collections::HashMap<String, &'a serde_json::value::RawValue>,
}

impl<'a> Protocol<'a> {
    fn read(text: &'a str) -> Result<Self, ProgramFault> {
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|_| ProgramFault::NotJson)?;
        let mut answer = members(text).ok_or(ProgramFault::NotAnAnswer)?;
        let version: Option<f64> = answer
            .get("protocolVersion")
            .and_then(|version| serde_json::from_str(version.get()).ok());
        if version != Some(1.0) {
            return Err(ProgramFault::NotAnAnswer);
        }
        let mut part = |name| members(answer.remove(name)?.get());
        Ok(Self {
            values: part("values").ok_or(ProgramFault::NotAnAnswer)?,
            errors: part("errors").unwrap_or_default(),
        })
    }
}

impl Answer<'_> {
    fn value(&self, id: &str) -> Result<Zeroizing<String>, ProgramFault> {
        let quoted = |text: &str| serde_json::from_str::<String>(text).map(Zeroizing::new);
        match self {
            Self::Text(text) => {
                Ok(quoted(text).unwrap_or_else(|_| Zeroizing::new((*text).to_owned())))
            }
            Self::Protocol(answer) => {
                if let Some(error) = answer.errors.get(id) {
                    return Err(refusal(error.get()));
                }
                let value = answer.values.get(id).ok_or(ProgramFault::NoSuchId)?;
                quoted(value.get()).map_err(|_| ProgramFault::NotText)
            }
        }
    }
}

/// Only known codes are told: everything else that a program writes may hold a secret.
fn refusal(error: &str) -> ProgramFault {
    #[derive(Deserialize)]
    struct Coded {
        code: Option<String>,
    }
    let code = serde_json::from_str::<Coded>(error)
        .ok()
        .and_then(|error| error.code);
    match code.as_deref() {
        Some("NOT_FOUND") => ProgramFault::NotFound,
        Some("AMBIGUOUS_DUPLICATE_KEY") => ProgramFault::Ambiguous,
        Some(_) | None => ProgramFault::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RefSource;
    use crate::secrets::SecretProvider;
    use serde_json::Value;

    fn program(entry: &Value, ids: &[&str], env: &EnvVars) -> (ProgramRun, Vec<WantedRef>) {
        let SecretProvider::Exec(provider) = SecretProvider::from_value(entry) else {
            panic!("{entry}");
        };
        let wanted: Vec<WantedRef> = ids
            .iter()
            .map(|id| WantedRef {
                source: RefSource::Exec,
                provider: "vault".into(),
                id: (*id).into(),
            })
            .collect();
        (
            ProgramRun::new(&provider, "vault", &wanted, env).unwrap(),
            wanted,
        )
    }

    fn answers(
        entry: &Value,
        ids: &[&str],
        code: i32,
        output: &str,
    ) -> Vec<Result<String, String>> {
        let (run, wanted) = program(entry, ids, &EnvVars::new());
        let mut values = RefValues::new();
        let output = Zeroizing::new(output.as_bytes().to_vec());
        run.settle(
            Ok(ProgramEnd {
                code: Some(code),
                output,
            }),
            &mut values,
        );
        wanted
            .iter()
            .map(|wanted| match values.get(wanted).unwrap() {
                Ok(secret) => Ok(secret.expose().to_owned()),
                Err(fault) => {
                    assert!(
                        !format!("{fault} {fault:?} {}", fault.next_step()).contains("hunter2")
                    );
                    Err(fault.to_string())
                }
            })
            .collect()
    }

    #[test]
    fn the_program_is_asked_in_json_and_gets_no_other_variables() {
        let env: EnvVars = [("HOME", "/h"), ("LANG", "C"), ("VAULT", "outer")]
            .into_iter()
            .collect();
        let entry = json!({
            "source": "exec", "command": "~/bin/v", "passEnv": ["LANG", "VAULT", "NOT_SET"],
            "env": { "VAULT": "inner" },
        });
        let (run, _) = program(&entry, &["a", "b#c"], &env);
        assert_eq!(run.command(), Path::new("/h/bin/v"));
        let shown: Vec<(&str, &str)> = run
            .variables()
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect();
        assert_eq!(shown, [("LANG", "C"), ("VAULT", "inner")]);
        let input: Value = serde_json::from_slice(run.input()).unwrap();
        assert_eq!(
            input,
            json!({ "protocolVersion": 1, "provider": "vault", "ids": ["a", "b#c"] })
        );
    }

    #[test]
    fn answers_are_taken_id_by_id() {
        let entry = json!({ "source": "exec", "command": "/v" });
        let answer = json!({
            "protocolVersion": 1, "more": true,
            "values": { "a": " hunter2\n", "blank": " ", "number": 5, "both": "hunter2" },
            "errors": {
                "gone": { "code": "NOT_FOUND", "message": "hunter2" },
                "two": { "code": "AMBIGUOUS_DUPLICATE_KEY" },
                "odd": { "code": "hunter2" }, "odder": "hunter2", "both": {},
            },
        });
        let ids = [
            "a", "blank", "number", "none", "gone", "two", "odd", "odder", "both",
        ];
        let found = answers(&entry, &ids, 0, &answer.to_string());
        let expected = [
            Ok("hunter2"),
            Err("its value is empty"),
            Err("/v gave a value that is no string"),
            Err("/v gave no value for this id"),
            Err("/v knows no such id (NOT_FOUND)"),
            Err("/v knows several secrets of this id (AMBIGUOUS_DUPLICATE_KEY)"),
            Err("/v refused this id"),
            Err("/v refused this id"),
            Err("/v refused this id"),
        ];
        for ((id, found), expected) in ids.iter().zip(&found).zip(expected) {
            let found = found.as_deref().map_err(String::as_str);
            assert_eq!(found, expected, "{id}");
        }
    }

    #[test]
    fn anything_else_is_no_answer() {
        let entry = json!({ "source": "exec", "command": "/v", "maxOutputBytes": 100 });
        for (code, output, reason) in [
            (
                3,
                r#"{"protocolVersion":1,"values":{"a":"hunter2"}}"#,
                "ended with exit code 3",
            ),
            (0, "", "wrote nothing"),
            (0, " \n", "wrote nothing"),
            (0, "hunter2", "wrote something other than JSON"),
            (0, "{hunter2", "wrote something other than JSON"),
            (0, "\"hunter2\"", "wrote no answer of protocol version 1"),
            (0, "{}", "wrote no answer of protocol version 1"),
            (
                0,
                r#"{"protocolVersion":2,"values":{"a":"x"}}"#,
                "wrote no answer of protocol version 1",
            ),
            (
                0,
                r#"{"protocolVersion":"1","values":{"a":"x"}}"#,
                "wrote no answer of protocol version 1",
            ),
            (
                0,
                r#"{"protocolVersion":1,"values":["a"]}"#,
                "wrote no answer of protocol version 1",
            ),
            (
                0,
                r#"{"protocolVersion":1}"#,
                "wrote no answer of protocol version 1",
            ),
            (
                0,
                &"x".repeat(101),
                "wrote more than 100 bytes and was stopped",
            ),
        ] {
            let found = answers(&entry, &["a"], code, output);
            assert_eq!(found, [Err(format!("/v {reason}"))], "{output}");
        }
    }

    #[test]
    fn plain_text_is_an_answer_where_the_provider_allows_it_and_one_is_asked_for() {
        let entry = json!({ "source": "exec", "command": "/v", "jsonOnly": false });
        for output in [
            "hunter2\n",
            "\"hunter2\"",
            r#"{"protocolVersion":1,"values":{"a":"hunter2"}}"#,
        ] {
            assert_eq!(
                answers(&entry, &["a"], 0, output),
                [Ok("hunter2".to_owned())]
            );
        }
        assert_eq!(
            answers(&entry, &["a"], 0, "12345"),
            [Ok("12345".to_owned())]
        );
        let two = answers(&entry, &["a", "b"], 0, "hunter2");
        assert!(two.iter().all(Result::is_err), "{two:?}");
        // An object that is no answer is a mistake, not a secret.
        let broken = answers(&entry, &["a"], 0, "{\"values\":{\"a\":\"hunter2\"}}");
        assert!(broken.iter().all(Result::is_err), "{broken:?}");
    }

    #[test]
    fn trusted_folders_hold_the_program() {
        let entry = json!({ "source": "exec", "command": "/opt/v", "trustedDirs": ["/opt"], "allowInsecurePath": true });
        let (run, _) = program(&entry, &["a"], &EnvVars::new());
        let facts = crate::secrets::PathFacts {
            kind: crate::secrets::PathKind::File,
            owner: 0,
            mode: 0o755,
            links: 1,
        };
        let standing = Standing {
            user: 0,
            target: facts,
            folders: Vec::new(),
        };
        let folders = [PathBuf::from("/opt")];
        assert_eq!(run.judge(Path::new("/opt/v"), &folders, &standing), Ok(()));
        let fault = run.path_fault(PathFault::OutsideTrustedFolders);
        assert_eq!(
            run.judge(Path::new("/usr/v"), &folders, &standing),
            Err(fault.clone())
        );
        // Trusted folders that do not exist do not become none.
        assert_eq!(run.judge(Path::new("/opt/v"), &[], &standing), Err(fault));
    }
}
