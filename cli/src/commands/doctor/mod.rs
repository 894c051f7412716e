//! `doctor`: what is wrong, and what to do. It gathers facts, lets the core judge them, and shows what
//! was found.

mod facts;
mod reach;
mod repair;

use clawgate_core::doctor::{self, Finding};
use clawgate_core::policy::audit::Severity;
use serde_json::{Value, json};

use self::reach::Reach;
use self::repair::Repaired;
use crate::context::Context;
use crate::doctor_args::DoctorArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::{TargetFlags, target_json, target_text};
use crate::text::{Sheet, duration, millis, plain};

pub(super) fn run(args: DoctorArgs, context: &Context) -> Result<Exit, Failure> {
    let flags = TargetFlags::read(args.target)?;
    let mut report = examine(&flags, context);
    let mut repaired = Vec::new();
    if args.fix {
        let repairs = report.findings.iter().filter_map(|it| it.repair.clone());
        repaired = repair::carry_out(repairs.collect(), context);
        if !repaired.is_empty() {
            report = examine(&flags, context);
        }
    }
    let clean = report.is_clean(args.level);
    match context.format {
        Format::Json => {
            let mut value = report.to_json();
            if let Some(object) = value.as_object_mut() {
                object.insert("ok".into(), json!(clean));
                object.insert("level".into(), json!(args.level));
                let fixed: Vec<Value> = repaired.iter().map(Repaired::to_json).collect();
                object.insert("fixed".into(), json!(fixed));
            }
            output::json(&value)?;
        }
        Format::Text => {
            let fixed: String = repaired.iter().map(Repaired::to_text).collect();
            output::text(&format!("{fixed}{}", report.to_text()))?;
        }
    }
    Ok(if clean { Exit::Ok } else { Exit::Failed })
}

/// Everything that was found out.
#[derive(Debug)]
pub(super) struct Report {
    /// The gravest first.
    pub(super) findings: Vec<Finding>,
    /// The way to the gateway.
    pub(super) reach: Reach,
}

/// Looks at everything. Nothing is changed.
pub(super) fn examine(flags: &TargetFlags, context: &Context) -> Report {
    let mut findings = facts::of_this_machine(flags, context);
    let reach = Reach::try_out(flags, context);
    findings.extend(reach.findings());
    doctor::sort(&mut findings);
    Report { findings, reach }
}

impl Report {
    /// How many there are of a severity.
    pub(super) fn count(&self, severity: Severity) -> usize {
        let found = self.findings.iter();
        found.filter(|it| it.severity == severity).count()
    }

    fn is_clean(&self, level: Severity) -> bool {
        self.findings.iter().all(|it| it.severity < level)
    }

    /// Everything but what was repaired.
    pub(super) fn to_json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "code": finding.code,
                "severity": finding.severity,
                "area": finding.area,
                "what": finding.what,
                "remedy": finding.remedy,
                "fixable": finding.repair.is_some(),
            })
        });
        let steps = self.reach.steps.iter().map(|it| {
            json!({
                "step": it.step.as_str(),
                "state": it.state.as_str(),
                "ms": it.took.map(millis),
            })
        });
        json!({
            "critical": self.count(Severity::Critical),
            "warn": self.count(Severity::Warn),
            "info": self.count(Severity::Info),
            "findings": findings.collect::<Vec<_>>(),
            "target": self.reach.why.as_ref().map(target_json),
            "steps": steps.collect::<Vec<_>>(),
            "versions": {
                "commandLine": env!("CARGO_PKG_VERSION"),
                "gateway": self.reach.version,
            },
        })
    }

    /// The same for people.
    pub(super) fn to_text(&self) -> String {
        let mut sheet = Sheet::default();
        let target = self.reach.why.as_ref().map(target_text);
        sheet.line("Target", target.unwrap_or_else(|| "none".to_owned()));
        sheet.line("Way", self.way());
        let here = env!("CARGO_PKG_VERSION");
        let gateway = self.reach.version.as_deref().unwrap_or("unknown");
        sheet.line("Version", format!("command line {here}, gateway {gateway}"));
        let mut text = sheet.to_text();
        text.push('\n');
        for finding in &self.findings {
            let severity = finding.severity.as_str();
            text.push_str(&format!("{severity:<8}  {}\n", plain(&finding.code)));
            for line in [&finding.what, &finding.remedy] {
                if !line.is_empty() {
                    text.push_str(&format!("          {}\n", plain(line)));
                }
            }
        }
        if !self.findings.is_empty() {
            text.push('\n');
        }
        text.push_str(&self.summary());
        text.push('\n');
        text
    }

    /// Each step of the way in one line.
    pub(super) fn way(&self) -> String {
        let steps = self.reach.steps.iter().map(|it| {
            let took = it
                .took
                .map_or_else(String::new, |took| format!(" {}", duration(took)));
            format!("{} {}{took}", it.step.as_str(), it.state.as_str())
        });
        steps.collect::<Vec<_>>().join(", ")
    }

    /// The counts in one line.
    pub(super) fn summary(&self) -> String {
        if self.findings.is_empty() {
            return "Nothing found.".to_owned();
        }
        let fixable = self.findings.iter().filter(|it| it.repair.is_some());
        let fixable = match fixable.count() {
            0 => String::new(),
            count => format!(" `clawgate doctor --fix` repairs {count} of them."),
        };
        format!(
            "{} critical, {} warn, {} info.{fixable}",
            self.count(Severity::Critical),
            self.count(Severity::Warn),
            self.count(Severity::Info)
        )
    }
}
