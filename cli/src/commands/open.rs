//! `open`: the chat page of the gateway, if it serves one.

use std::process::{Command, Stdio};

use clawgate_core::client::Target as ClientTarget;
use clawgate_core::credentials::Surface;
use clawgate_core::policy::Endpoint;
use clawgate_std::{PageAnswer, ask_for_page};
use serde_json::json;

use crate::context::Context;
use crate::dial::options;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::refusal;
use crate::service::find_trusted;
use crate::target::{self, Resolved, TargetFlags};
use crate::text::plain;
use crate::voice_args::OpenArgs;

/// The programs that open a URL, by system.
const OPENER: &str = if cfg!(target_os = "macos") {
    "open"
} else {
    "xdg-open"
};

pub(super) fn run(args: OpenArgs, context: &Context) -> Result<Exit, Failure> {
    let flags = TargetFlags::read(args.target)?;
    let resolved = target::find(Surface::Status, &flags, context)?.only_looking();
    let endpoint = resolved.target.endpoint();
    let path = page_path(&resolved, context);
    let ask = |path: &str| {
        let client = ClientTarget::from(&resolved.target);
        ask_for_page(client.route(), path, &options(flags.timeout))
            .map_err(|error| refusal::connect(&error, &resolved))
    };
    let mut path = path;
    let mut answer = ask(&path)?;
    // Only to another place of the same gateway.
    if let Some(elsewhere) = same_host(&answer) {
        path = elsewhere;
        answer = ask(&path)?;
    }
    let url = page_url(endpoint, &path);
    if !answer.is_page() {
        return Err(Failure::new(
            Exit::Failed,
            "no_chat_page",
            format!(
                "The gateway serves no chat page at {url} (HTTP {}).",
                answer.status
            ),
            "Talk with it by `clawgate chat`, or correct gateway.controlUi.basePath.",
        )
        .fact("url", json!(url))
        .fact("status", json!(answer.status)));
    }
    if endpoint.tunnel().is_some() {
        output::note(
            "note: the page needs the tunnel for as long as it is open: `clawgate tunnel up`",
        );
    }
    let opened = !args.print && open(&url)?;
    match context.format {
        Format::Json => output::json(&json!({ "ok": true, "url": url, "opened": opened }))?,
        Format::Text => output::text(&format!("{}\n", plain(&url)))?,
    }
    Ok(Exit::Ok)
}

/// The path of the page: of this machine's gateway as configured, of others behind their URL.
fn page_path(resolved: &Resolved, context: &Context) -> String {
    let endpoint = resolved.target.endpoint();
    let configured = context
        .config_file()
        .ok()
        .filter(|_| endpoint.is_loopback() && endpoint.tunnel().is_none())
        .and_then(|file| file.parsed.pointer("/gateway/controlUi/basePath"))
        .and_then(serde_json::Value::as_str);
    let path = configured.unwrap_or_else(|| endpoint.path_and_query());
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = path.trim_matches('/');
    let fits = path.chars().all(|c| c.is_ascii_graphic());
    match path {
        "" => "/".to_owned(),
        path if fits => format!("/{path}/"),
        _ => "/".to_owned(),
    }
}

/// Where a redirect leads on the same gateway.
fn same_host(answer: &PageAnswer) -> Option<String> {
    let location = answer.location.as_deref()?;
    let is_here = location.starts_with('/') && !location.starts_with("//");
    let fits = location.len() < 1_000 && location.chars().all(|c| c.is_ascii_graphic());
    (matches!(answer.status, 301 | 302 | 303 | 307 | 308) && is_here && fits).then(|| {
        location
            .split(['?', '#'])
            .next()
            .unwrap_or_default()
            .to_owned()
    })
}

/// What a browser dials. Never a query or a fragment.
fn page_url(endpoint: &Endpoint, path: &str) -> String {
    let scheme = if endpoint.is_tls() { "https" } else { "http" };
    format!("{scheme}://{}{path}", endpoint.host_header())
}

fn open(url: &str) -> Result<bool, Failure> {
    let failed = |why: String| {
        Failure::new(
            Exit::Failed,
            "not_opened",
            format!("{url} was not opened: {why}."),
            "Open it yourself; `clawgate open --print` prints it.",
        )
    };
    let program = find_trusted(OPENER)
        .map_err(|_| failed(format!("there is no {OPENER} among the system's programs")))?;
    let status = Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| failed(error.to_string()))?;
    if status.success() {
        Ok(true)
    } else {
        Err(failed(format!("{OPENER} ended with {status}")))
    }
}
