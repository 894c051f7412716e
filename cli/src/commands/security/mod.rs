//! `security audit` and `security log`. The first gathers what the rules look at, shows what they found, and mends permissions.

mod facts;
mod log;
pub(super) mod mend;

use clawgate_core::policy::audit::{Facts, Finding, Severity, audit};
use serde_json::{Value, json};

use self::mend::Mended;
use crate::args::{AuditArgs, SecurityCommand};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::run::{default_bind, host_facts};
use crate::text::plain;

pub(super) fn run(command: SecurityCommand, context: &Context) -> Result<Exit, Failure> {
    match command {
        SecurityCommand::Audit(args) => look(&args, context),
        SecurityCommand::Log(args) => log::show(&args, context),
    }
}

fn look(args: &AuditArgs, context: &Context) -> Result<Exit, Failure> {
    let mut findings = findings(context)?;
    let mut mended = Vec::new();
    if args.fix {
        mended = mend::carry_out(&findings);
        findings = self::findings(context)?;
    }
    let report = Report {
        level: args.level,
        findings,
        mended,
    };
    match context.format {
        Format::Json => output::json(&report.to_json())?,
        Format::Text => output::text(&report.to_text())?,
    }
    Ok(if report.is_clean() {
        Exit::Ok
    } else {
        Exit::Failed
    })
}

pub(super) fn findings(context: &Context) -> Result<Vec<Finding>, Failure> {
    let mut config = context.config_file()?.clone();
    if let Some(bind) = default_bind(&config) {
        config.config.gateway.bind = Some(bind);
    }
    let places = context.locations()?;
    let files = facts::files(&config, places, &context.env);
    let kept_token = facts::kept_token(places);
    Ok(audit(&Facts {
        config: &config,
        env: &context.env,
        bind: &host_facts(&config.config.gateway),
        kept_token: kept_token.as_ref(),
        logins: facts::logins(),
        user: facts::user(),
        files: &files,
    }))
}

struct Report {
    level: Severity,
    findings: Vec<Finding>,
    mended: Vec<Mended>,
}

impl Report {
    fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    }

    /// Nothing at the level or above it.
    fn is_clean(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.severity < self.level)
    }

    fn to_json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "id": finding.id,
                "severity": finding.severity,
                "place": finding.place.to_string(),
                "what": finding.what,
                "change": finding.change,
                "fixable": finding.mend.is_some(),
            })
        });
        let mended = self.mended.iter().map(|mended| {
            json!({
                "file": mended.mend.path.to_string_lossy(),
                "from": format!("{:03o}", mended.mend.from),
                "to": format!("{:03o}", mended.mend.to),
                "error": mended.error,
            })
        });
        json!({
            "ok": self.is_clean(),
            "level": self.level,
            "critical": self.count(Severity::Critical),
            "warn": self.count(Severity::Warn),
            "info": self.count(Severity::Info),
            "findings": findings.collect::<Vec<_>>(),
            "fixed": mended.collect::<Vec<_>>(),
        })
    }

    fn to_text(&self) -> String {
        let mut lines = Vec::new();
        for Mended { mend, error } in &self.mended {
            let (path, from, to) = (mend.path.display(), mend.from, mend.to);
            lines.push(match error {
                None => format!("fixed     mode of {path}: {from:03o} became {to:03o}"),
                Some(error) => format!("not fixed mode of {path}: {error}"),
            });
        }
        for finding in &self.findings {
            let severity = finding.severity.as_str();
            lines.push(format!("{severity:<8}  {}  {}", finding.place, finding.id));
            lines.push(format!("          {}", finding.what));
            lines.push(format!("          {}", finding.change));
        }
        lines.push(match self.findings.len() {
            0 => "Nothing found.".to_owned(),
            _ => format!(
                "{} critical, {} warn, {} info.",
                self.count(Severity::Critical),
                self.count(Severity::Warn),
                self.count(Severity::Info)
            ),
        });
        let lines: Vec<String> = lines.iter().map(|line| plain(line)).collect();
        format!("{}\n", lines.join("\n"))
    }
}
