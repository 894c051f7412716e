//! `gateway probe`: three verdicts for each way to a gateway, and how long each stage took.

use std::thread;
use std::time::Duration;

use clawgate_core::config::Transport;
use clawgate_core::credentials::Surface;
use clawgate_core::frame::RawJson;
use clawgate_std::{ConnectError, Problem, Stage, Timings};
use serde_json::{Value, json};

use crate::context::Context;
use crate::dial::{Link, NoLink};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::refusal;
use crate::target::{
    self, GivenSsh, Resolved, TargetFlags, auth_json, auth_text, target_json, target_text,
};
use crate::text;

/// Time for the gateway on this machine when it is not the one that was asked about
/// (spec hostpolicy §7).
const SIDE_LOOK: Duration = Duration::from_millis(800);

/// A call that takes `operator.read`, so that its answer tells what the client is allowed.
const READ_CALL: &str = "status";

const STAGES: [Stage; 8] = [
    Stage::Tunnel,
    Stage::Dns,
    Stage::Tcp,
    Stage::Tls,
    Stage::Upgrade,
    Stage::Challenge,
    Stage::Hello,
    Stage::Call,
];

/// An answer to one of the three questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Yes,
    No,
    /// An earlier question was answered with no.
    Unknown,
}

impl Verdict {
    const fn to_json(self) -> Option<bool> {
        match self {
            Self::Yes => Some(true),
            Self::No => Some(false),
            Self::Unknown => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "?",
        }
    }
}

/// What was found out about one target.
struct Probe {
    resolved: Option<Resolved>,
    reachable: Verdict,
    authenticated: Verdict,
    authorised: Verdict,
    version: Option<String>,
    protocol: Option<u32>,
    timings: Timings,
    /// Where the connection failed.
    stage: Option<Stage>,
    failure: Option<Failure>,
}

pub(super) fn run(
    flags: &TargetFlags,
    ssh: Option<GivenSsh>,
    context: &Context,
) -> Result<Exit, Failure> {
    let primary = target::find(Surface::Probe, flags, context);
    let beside = beside(&primary, flags, context);
    let tunnelled = ssh.or_else(|| configured_ssh(flags, context)).map(|ssh| {
        let flags = flags.clone().through(ssh);
        target::find(Surface::Probe, &flags, context)
    });
    let side_look = SIDE_LOOK.min(flags.timeout);
    let (mut probes, tunnelled) = thread::scope(|scope| {
        let beside = beside.map(|found| scope.spawn(move || probe(found, side_look)));
        let tunnelled = tunnelled.map(|found| scope.spawn(move || probe(found, flags.timeout)));
        let mut probes = vec![probe(primary, flags.timeout)];
        // A thread that failed has nothing to report.
        probes.extend(beside.and_then(|thread| thread.join().ok()));
        (probes, tunnelled.and_then(|thread| thread.join().ok()))
    });
    let mut warnings = Vec::new();
    match tunnelled {
        Some(probe) if probe.has_no_tunnel() => warnings.extend(probe.failure),
        Some(probe) => probes.insert(0, probe),
        None => {}
    }
    let exit = probes.first().map_or(Exit::Ok, Probe::exit);
    match context.format {
        Format::Json => output::json(&json!({
            "ok": exit == Exit::Ok,
            "targets": probes
                .iter()
                .enumerate()
                .map(|(index, probe)| probe.to_json(index == 0))
                .collect::<Vec<_>>(),
            "warnings": warnings.iter().map(no_tunnel_json).collect::<Vec<_>>(),
        }))?,
        Format::Text => {
            output::text(&table(&probes))?;
            for failure in &warnings {
                output::note(&format!(
                    "warning: no tunnel: {} {}",
                    failure.message, failure.next
                ));
            }
            for failure in probes.iter().filter_map(|probe| probe.failure.as_ref()) {
                output::failure(failure, Format::Text);
            }
        }
    }
    Ok(exit)
}

/// Tries the gateway of the flags, the context or the config alone, and names the step that fails.
pub(super) fn test(flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let probe = probe(target::find(Surface::Call, flags, context), flags.timeout);
    let exit = probe.exit();
    let failed = probe.failed_step();
    match context.format {
        Format::Json => {
            let mut answer = probe.to_json(true);
            if let Some(fields) = answer.as_object_mut() {
                fields.insert("failedStep".into(), json!(failed));
            }
            output::json(&answer)?;
        }
        Format::Text => {
            let mut text = table(std::slice::from_ref(&probe));
            text.push_str(&match failed {
                None => "\nEvery step works.\n".to_owned(),
                Some(step) => format!("\nFails at: {step}\n"),
            });
            output::text(&text)?;
            if let Some(failure) = &probe.failure {
                output::failure(failure, Format::Text);
            }
        }
    }
    Ok(exit)
}

/// The tunnel that the config names without using it for every command (spec hostpolicy §7).
fn configured_ssh(flags: &TargetFlags, context: &Context) -> Option<GivenSsh> {
    let gateway = &context.config_file().ok()?.config.gateway;
    let is_beside = gateway.mode.is_remote()
        && gateway.remote.transport == Transport::Direct
        && gateway.remote.ssh_target.is_some();
    (is_beside && !flags.is_explicit()).then(GivenSsh::default)
}

/// `{code, message, next, cause}`.
fn no_tunnel_json(failure: &Failure) -> Value {
    json!({
        "code": "ssh_tunnel_failed",
        "message": failure.message,
        "next": failure.next,
        "cause": failure.code,
    })
}

/// The gateway on this machine, when the one that was asked about is another.
fn beside(
    primary: &Result<Resolved, Failure>,
    flags: &TargetFlags,
    context: &Context,
) -> Option<Result<Resolved, Failure>> {
    if flags.is_explicit() {
        return None;
    }
    let local = target::find_local(Surface::Probe, flags, context);
    let url = |found: &Result<Resolved, Failure>| {
        let found = found.as_ref().ok()?;
        Some(found.target.endpoint().url())
    };
    match (url(primary), url(&local)) {
        (Some(primary), Some(local)) if primary == local => None,
        // Without a usable config there is only one thing to say.
        (None, None) => None,
        (Some(_) | None, Some(_)) | (Some(_), None) => Some(local),
    }
}

fn probe(found: Result<Resolved, Failure>, timeout: Duration) -> Probe {
    let mut probe = Probe {
        resolved: None,
        reachable: Verdict::Unknown,
        authenticated: Verdict::Unknown,
        authorised: Verdict::Unknown,
        version: None,
        protocol: None,
        timings: Timings::default(),
        stage: None,
        failure: None,
    };
    let resolved = match found {
        Ok(resolved) => resolved,
        Err(failure) => {
            probe.failure = Some(failure);
            return probe;
        }
    };
    match Link::open(&resolved, &[READ_CALL], timeout) {
        Err(NoLink::Connect(error)) => probe.not_connected(&error, &resolved),
        Err(NoLink::Local(failure)) => probe.failure = Some(failure),
        Ok(mut link) => {
            probe.reachable = Verdict::Yes;
            probe.authenticated = Verdict::Yes;
            let hello = link.connection.hello();
            probe.version.clone_from(&hello.server_version);
            probe.protocol = hello.protocol;
            match link.call(READ_CALL, RawJson::empty_object()) {
                Ok(_) => probe.authorised = Verdict::Yes,
                Err(failure) => {
                    probe.authorised = match failure.exit {
                        Exit::Unauthorised => Verdict::No,
                        // The gateway let the call through and failed at it.
                        Exit::Refused => Verdict::Yes,
                        Exit::Ok
                        | Exit::Failed
                        | Exit::Usage
                        | Exit::Unreachable
                        | Exit::TimedOut
                        | Exit::WrongCertificate
                        | Exit::Configuration
                        | Exit::Interrupted => Verdict::Unknown,
                    };
                    probe.failure = Some(failure);
                }
            }
            probe.timings = link.connection.timings().clone();
            link.connection.close();
        }
    }
    probe.resolved = Some(resolved);
    probe
}

impl Probe {
    fn not_connected(&mut self, error: &ConnectError, resolved: &Resolved) {
        let failure = refusal::connect(error, resolved);
        let answered = matches!(failure.exit, Exit::Unauthorised | Exit::Refused)
            && !matches!(error.problem, Problem::Upgrade { .. });
        if answered {
            self.reachable = Verdict::Yes;
            self.authenticated = Verdict::No;
        } else {
            self.reachable = Verdict::No;
        }
        self.timings = error.timings.clone();
        self.stage = Some(error.stage);
        self.failure = Some(failure);
    }

    /// The first step that did not work: the settings, a stage of the connection, authentication, or
    /// what the client may do.
    fn failed_step(&self) -> Option<&'static str> {
        let failure = self.failure.as_ref()?;
        let step = match (self.reachable, self.authenticated, self.authorised) {
            _ if self.resolved.is_none() => "settings",
            _ if failure.exit == Exit::WrongCertificate => "pin",
            (Verdict::Yes, Verdict::Yes, Verdict::No) => "scope",
            (Verdict::Yes, Verdict::Yes, _) => "call",
            (Verdict::Yes, _, _) => "authentication",
            (Verdict::No | Verdict::Unknown, _, _) => self.stage.map_or("call", Stage::as_str),
        };
        Some(step)
    }

    /// Whether it did not come as far as the gateway's machine.
    fn has_no_tunnel(&self) -> bool {
        let stage = self.timings.of(Stage::Tunnel);
        self.failure.is_some() && stage.is_none()
    }

    fn exit(&self) -> Exit {
        self.failure
            .as_ref()
            .map_or(Exit::Ok, |failure| failure.exit)
    }

    fn to_json(&self, primary: bool) -> Value {
        let timings: serde_json::Map<String, Value> = STAGES
            .iter()
            .map(|stage| {
                let took = self.timings.of(*stage).map(text::millis);
                (stage.as_str().to_owned(), json!(took))
            })
            .collect();
        let why = self.resolved.as_ref().map(|resolved| &resolved.why);
        json!({
            "primary": primary,
            "ok": self.failure.is_none(),
            "target": why.map(target_json),
            "auth": why.map(auth_json),
            "reachable": self.reachable.to_json(),
            "authenticated": self.authenticated.to_json(),
            "authorised": self.authorised.to_json(),
            "version": self.version,
            "protocol": self.protocol,
            "timingsMs": timings,
            "totalMs": text::millis(self.timings.total()),
            "error": self.failure.as_ref().map(Failure::to_json),
        })
    }
}

/// One block for each target.
fn table(probes: &[Probe]) -> String {
    let mut blocks = Vec::new();
    for probe in probes {
        let mut sheet = text::Sheet::default();
        match &probe.resolved {
            Some(resolved) => {
                sheet.line("Target", target_text(&resolved.why));
                sheet.line("Auth", auth_text(&resolved.why));
            }
            None => sheet.line("Target", "none"),
        }
        sheet.line("Reachable", probe.reachable.as_str());
        sheet.line("Authenticated", probe.authenticated.as_str());
        sheet.line("Authorised", probe.authorised.as_str());
        if let Some(version) = &probe.version {
            sheet.line("Version", version);
        }
        let stages: Vec<String> = probe
            .timings
            .stages()
            .map(|(stage, took)| format!("{stage} {}", text::duration(took)))
            .collect();
        if !stages.is_empty() {
            sheet.line(
                "Stages",
                format!(
                    "{} = {}",
                    stages.join(", "),
                    text::duration(probe.timings.total())
                ),
            );
        }
        blocks.push(sheet.to_text());
    }
    blocks.join("\n")
}
