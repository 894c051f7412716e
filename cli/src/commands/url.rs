//! `url check`.

use std::io::{self, BufRead};

use clawgate_core::policy::{UrlCheck, UrlPolicy, endpoint::BREAK_GLASS_ENV};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::text::plain;

pub(super) fn check(urls: &[String], format: Format) -> Result<Exit, Failure> {
    let policy = UrlPolicy::from_env(std::env::var(BREAK_GLASS_ENV).ok().as_deref());
    let mut exit = Exit::Ok;
    for url in urls {
        if url != "-" {
            exit = exit.max(show(url, policy, format)?);
            continue;
        }
        for line in io::stdin().lock().lines() {
            let line = line.map_err(|error| {
                Failure::new(
                    Exit::Usage,
                    "stdin_unreadable",
                    format!("Standard input could not be read: {error}."),
                    "Give text in UTF-8, one URL a line.",
                )
            })?;
            if !line.trim().is_empty() {
                exit = exit.max(show(&line, policy, format)?);
            }
        }
    }
    Ok(exit)
}

fn show(url: &str, policy: UrlPolicy, format: Format) -> Result<Exit, Failure> {
    let check = UrlCheck::of(url, policy);
    match format {
        Format::Json => output::json_line(&check)?,
        Format::Text => output::text(&describe(&check))?,
    }
    Ok(if check.ok { Exit::Ok } else { Exit::Failed })
}

/// One line, and more below it for what to do. The text of a refused URL is never repeated: it may
/// hold a secret.
fn describe(check: &UrlCheck) -> String {
    let verdict = if check.ok { "ok     " } else { "refused" };
    let what = match (check.scheme, &check.host, check.port, check.class) {
        (Some(scheme), Some(host), Some(port), Some(class)) => {
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.clone()
            };
            format!("  {scheme}://{host}:{port}  {class}")
        }
        _ => String::new(),
    };
    let mut text = format!("{verdict}{what}");
    for line in check
        .reason
        .iter()
        .chain(&check.next)
        .chain(&check.warnings)
    {
        text.push_str("\n  ");
        text.push_str(&plain(line));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_names_the_host_and_no_secret() {
        let of = |url| describe(&UrlCheck::of(url, UrlPolicy::Strict));
        assert_eq!(
            of("ws://[::1]:18789"),
            "ok       ws://[::1]:18789  loopback\n"
        );
        let refused = of("ws://ada:hunter2@gw.example.com");
        assert!(
            refused.starts_with("refused  ws://gw.example.com:80  public"),
            "{refused}"
        );
        assert!(!refused.contains("hunter2"));
        assert!(of("junk").starts_with("refused\n  The gateway URL"));
    }
}
