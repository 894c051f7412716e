//! `gateway status`.

use std::time::Duration;

use clawgate_core::client::Hello;
use clawgate_core::credentials::{Surface, UrlSource};
use clawgate_core::frame::RawJson;
use clawgate_core::policy::TlsFingerprint;
use serde_json::{Value, json};

use super::gateway_service::survey::{self, Survey};
use super::health::problems;
use crate::context::Context;
use crate::dial::Link;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::{self, Resolved, TargetFlags, auth_json, auth_text, target_json, target_text};
use crate::text::{self, Sheet};

/// What was found out, as far as it went.
struct Report {
    resolved: Resolved,
    hello: Option<Hello>,
    certificate: Option<TlsFingerprint>,
    status: Option<Value>,
    problems: Vec<String>,
    took: Option<Duration>,
    failure: Option<Failure>,
    /// This machine's side; none for a gateway elsewhere.
    here: Option<Survey>,
}

pub(super) fn run(flags: &TargetFlags, context: &Context) -> Result<Exit, Failure> {
    let mut report = look(
        target::find(Surface::Status, flags, context)?,
        flags.timeout,
    );
    report.here = report.port_here().map(|port| survey::look(context, port));
    match context.format {
        Format::Json => output::json(&report.to_json())?,
        Format::Text => {
            output::text(&report.to_text())?;
            if let Some(failure) = &report.failure {
                output::failure(failure, Format::Text);
            }
        }
    }
    Ok(report.failure.map_or(Exit::Ok, |failure| failure.exit))
}

fn look(resolved: Resolved, timeout: Duration) -> Report {
    let mut report = Report {
        resolved,
        hello: None,
        certificate: None,
        status: None,
        problems: Vec::new(),
        took: None,
        failure: None,
        here: None,
    };
    let mut link = match Link::open_or_explain(&report.resolved, &["status"], timeout) {
        Ok(link) => link,
        Err(failure) => {
            report.failure = Some(failure);
            return report;
        }
    };
    let hello = link.connection.hello().clone();
    let certificate = link.connection.certificate().copied();
    let answer = link.call("status", RawJson::empty_object());
    // What is wrong with the config, say. A gateway that does not tell is not at fault here.
    if let Ok(health) = link.call("health", RawJson::empty_object()) {
        report.problems = problems(&health.parse().unwrap_or(Value::Null));
    }
    let took = link.connection.timings().total();
    link.connection.close();
    report.hello = Some(hello);
    report.certificate = certificate;
    report.took = Some(took);
    match answer {
        Ok(status) => report.status = Some(status.parse().unwrap_or(Value::Null)),
        Err(failure) => report.failure = Some(failure),
    }
    report
}

impl Report {
    fn version(&self) -> Option<&str> {
        self.hello.as_ref()?.server_version.as_deref()
    }

    fn uptime(&self) -> Option<Duration> {
        let millis = self.status.as_ref()?.get("uptimeMs")?.as_u64()?;
        Some(Duration::from_millis(millis))
    }

    /// The port that is asked, when it is one of this machine.
    fn port_here(&self) -> Option<u16> {
        let source = self.resolved.why.url_source?;
        let here = [UrlSource::Local.as_str(), UrlSource::Port.as_str()];
        let url = self.resolved.why.url.as_deref()?;
        here.contains(&source)
            .then(|| url.rsplit_once(':')?.1.trim_end_matches('/').parse().ok())
            .flatten()
    }

    /// A gateway that refused was reached.
    fn reachable(&self) -> bool {
        self.hello.is_some()
            || self
                .failure
                .as_ref()
                .is_some_and(|failure| matches!(failure.exit, Exit::Unauthorised | Exit::Refused))
    }

    fn to_json(&self) -> Value {
        let hello = self.hello.as_ref();
        json!({
            "ok": self.failure.is_none(),
            "target": target_json(&self.resolved.why),
            "auth": auth_json(&self.resolved.why),
            "reachable": self.reachable(),
            "version": self.version(),
            "protocol": hello.and_then(|hello| hello.protocol),
            "uptimeMs": self.uptime().map(clawgate_core::time::millis),
            "tls": self.certificate.map(|shown| json!({ "sha256": shown })),
            "durationMs": self.took.map(text::millis),
            "rpc": { "ok": self.status.is_some(), "method": "status" },
            "service": self.here.as_ref().map(Survey::service_json),
            "process": self.here.as_ref().map(Survey::process_json),
            "port": self.here.as_ref().map(Survey::port_json),
            "problems": self.problems,
            "error": self.failure.as_ref().map(Failure::to_json),
        })
    }

    fn to_text(&self) -> String {
        let mut sheet = Sheet::default();
        sheet.line("Gateway", target_text(&self.resolved.why));
        sheet.line("Auth", auth_text(&self.resolved.why));
        sheet.line("Reachable", if self.reachable() { "yes" } else { "no" });
        if let Some(version) = self.version() {
            let protocol = self
                .hello
                .as_ref()
                .and_then(|hello| hello.protocol)
                .map_or_else(String::new, |protocol| format!(", protocol {protocol}"));
            sheet.line("Version", format!("{version}{protocol}"));
        }
        if let Some(certificate) = &self.certificate {
            sheet.line("TLS", format!("sha256:{certificate}"));
        }
        if let Some(uptime) = self.uptime() {
            sheet.line("Up for", text::duration(uptime));
        }
        let rpc = match (&self.status, self.took) {
            (Some(_), Some(took)) => format!("ok in {}", text::duration(took)),
            (Some(_), None) => "ok".to_owned(),
            (None, _) => "failed".to_owned(),
        };
        sheet.line("RPC", rpc);
        for problem in &self.problems {
            sheet.line("Problem", problem);
        }
        match &self.here {
            Some(here) => here.lines(&mut sheet),
            None => sheet.line(
                "Service",
                "not looked at: the gateway is another machine's, or was named by its URL",
            ),
        }
        sheet.to_text()
    }
}
