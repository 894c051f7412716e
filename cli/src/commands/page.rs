//! A page about a gateway that is safe to paste: `status --all`, and a part of the support bundle.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use clawgate_core::credentials::{Explanation, Surface};
use clawgate_core::frame::RawJson;
use clawgate_core::policy::{Endpoint, UrlPolicy};
use clawgate_core::support::Paste;
use serde_json::{Value, json};

use super::{doctor, health};
use crate::context::Context;
use crate::dial::Link;
use crate::exit::Exit;
use crate::target::{self, TargetFlags, target_text};
use crate::text::{self, Sheet, plain};

/// What is asked of the gateway.
const CALLS: [&str; 5] = [
    "health",
    "status",
    "node.list",
    "device.pair.list",
    "logs.tail",
];

/// How many complaints of the log are shown.
const COMPLAINTS: usize = 5;

/// How much of the log is looked through, in bytes.
const LOG_TAIL: u64 = 256 * 1024;

/// The page, and how the look at the gateway ended.
pub(super) struct Page {
    /// Shortened already.
    pub(super) text: String,
    /// Everything that doctor says, not shortened.
    pub(super) doctor: Value,
    /// That of the connection.
    pub(super) exit: Exit,
}

/// Looks at everything that can be looked at, and writes the page.
pub(super) fn page(flags: &TargetFlags, context: &Context) -> Page {
    let report = doctor::examine(flags, context);
    let mut sheet = Sheet::default();
    sheet.line(
        "System",
        format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    );
    let gateway = report.reach.version.as_deref().unwrap_or("unknown");
    let here = env!("CARGO_PKG_VERSION");
    sheet.line("Version", format!("command line {here}, gateway {gateway}"));
    if let Some(why) = &report.reach.why {
        sheet.line("Target", target_text(why));
        sheet.line("Auth", presented(why));
    }
    sheet.line("Way", report.way());
    sheet.line("Doctor", report.summary());
    let mut complaints = Vec::new();
    let exit = of_gateway(flags, context, &mut sheet, &mut complaints);
    if exit != Exit::Ok
        && let Ok(places) = context.locations()
    {
        complaints = log_tail(&places.own.join("gateway.log"))
            .iter()
            .filter_map(|line| complaint(line))
            .collect();
    }
    let mut text = sheet.to_text();
    // Writing into a string does not fail.
    if !report.findings.is_empty() {
        text.push_str("\nFindings\n");
    }
    for finding in &report.findings {
        let severity = finding.severity.as_str();
        let what = plain(&finding.what);
        let _ = writeln!(text, "  {severity:<8}  {}  {what}", plain(&finding.code));
    }
    if !complaints.is_empty() {
        text.push_str("\nLast complaints of the log\n");
    }
    let first = complaints.len().saturating_sub(COMPLAINTS);
    for line in complaints.iter().skip(first) {
        let _ = writeln!(text, "  {line}");
    }
    Page {
        text: paste_of(context).text(&text),
        doctor: report.to_json(),
        exit,
    }
}

/// What is presented, without the ids of secrets: with those, short ones could be guessed.
fn presented(why: &Explanation) -> String {
    let given: Vec<String> = [("token", &why.token), ("password", &why.password)]
        .into_iter()
        .filter(|(_, shown)| shown.present)
        .map(|(kind, shown)| format!("{kind} from {}", shown.source))
        .collect();
    if given.is_empty() {
        "no credentials".to_owned()
    } else {
        given.join(", ")
    }
}

fn of_gateway(
    flags: &TargetFlags,
    context: &Context,
    sheet: &mut Sheet,
    complaints: &mut Vec<String>,
) -> Exit {
    let resolved = match target::find(Surface::Status, flags, context) {
        Ok(resolved) => resolved,
        Err(failure) => {
            sheet.line("Gateway", failure.message);
            return failure.exit;
        }
    };
    let mut link = match Link::open_or_explain(&resolved, &CALLS, flags.timeout) {
        Ok(link) => link,
        Err(failure) => {
            sheet.line("Gateway", failure.message);
            return failure.exit;
        }
    };
    let params = |method: &str| match method {
        "logs.tail" => RawJson::encode(&json!({ "limit": 400 })).ok(),
        _ => None,
    };
    let calls = CALLS
        .into_iter()
        .map(|method| (method, params(method).unwrap_or_else(RawJson::empty_object)))
        .collect();
    for (method, outcome) in link.call_all(calls) {
        let answer: Value = match outcome {
            Ok(answer) => answer.parse().unwrap_or(Value::Null),
            Err(failure) => {
                sheet.line(method, format!("failed: {}", failure.message));
                continue;
            }
        };
        let count = |list: &str| {
            answer
                .get(list)
                .and_then(Value::as_array)
                .map_or(0, Vec::len)
        };
        match method {
            "health" => {
                sheet.line("Health", health::verdict(&answer));
                health::describe(&answer, sheet);
            }
            "status" => {
                if let Some(up) = answer.get("uptimeMs").and_then(Value::as_u64) {
                    sheet.line("Up for", text::duration(Duration::from_millis(up)));
                }
            }
            "node.list" => {
                let nodes = answer.get("nodes").and_then(Value::as_array);
                let connected = nodes.into_iter().flatten();
                let connected =
                    connected.filter(|node| node.get("connected") == Some(&json!(true)));
                let (all, connected) = (count("nodes"), connected.count());
                sheet.line("Nodes", format!("{all}, {connected} connected"));
            }
            "device.pair.list" => {
                let (paired, pending) = (count("paired"), count("pending"));
                sheet.line("Devices", format!("{paired} paired, {pending} waiting"));
            }
            _ => {
                let lines = answer.get("lines").and_then(Value::as_array);
                let lines = lines.into_iter().flatten().filter_map(Value::as_str);
                complaints.extend(lines.filter_map(complaint));
            }
        }
    }
    link.connection.close();
    Exit::Ok
}

/// A line of the log in short, if it is a warning or an error.
fn complaint(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let word = |path: &str| line.pointer(path).and_then(Value::as_str);
    let level = word("/level").filter(|level| matches!(*level, "WARN" | "ERROR"))?;
    let at = word("/timestamp").unwrap_or_default();
    let message = word("/fields/message").unwrap_or_default();
    let error = word("/fields/error").map_or_else(String::new, |error| format!(": {error}"));
    Some(text::short(&format!("{at} {level} {message}{error}"), 300))
}

/// The last lines of a log file, as far as they are whole.
pub(super) fn log_tail(path: &Path) -> Vec<String> {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>((bytes, length > LOG_TAIL))
    };
    let Ok((bytes, is_cut)) = read() else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&bytes);
    text.lines()
        .skip(usize::from(is_cut))
        .map(str::to_owned)
        .collect()
}

/// What is to be shortened here.
pub(super) fn paste_of(context: &Context) -> Paste {
    let mut paste = Paste::default();
    if let Some(home) = context.env.non_blank("HOME") {
        paste.home(home);
        if let Some(name) = Path::new(home).file_name() {
            paste.user(&name.to_string_lossy());
        }
    }
    for name in ["USER", "LOGNAME", "USERNAME"] {
        if let Some(user) = context.env.non_blank(name) {
            paste.user(user);
        }
    }
    paste.host(&gethostname::gethostname().to_string_lossy());
    let mut urls: Vec<&str> = context
        .env
        .non_blank("OPENCLAW_GATEWAY_URL")
        .into_iter()
        .collect();
    if let Ok(file) = context.config_file() {
        let remote = &file.config.gateway.remote;
        urls.extend(remote.url.as_deref());
        if let Some(target) = file
            .parsed
            .pointer("/gateway/remote/sshTarget")
            .and_then(Value::as_str)
        {
            let (user, host) = target.split_once('@').unwrap_or(("", target));
            paste.user(user);
            paste.host(host.split(':').next().unwrap_or(host));
        }
    }
    for url in urls {
        if let Ok(endpoint) = Endpoint::parse(url, UrlPolicy::AllowInsecureNames) {
            paste.host(&endpoint.host().unbracketed());
        }
    }
    paste
}
