//! `logs`: the gateway's log, over the connection.

use std::thread;
use std::time::Duration;

use clawgate_core::credentials::Surface;
use clawgate_core::frame::RawJson;
use clawgate_core::gateway::LogTail;
use serde_json::json;

use crate::approval_args::TailArgs;
use crate::context::Context;
use crate::dial::Link;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format, Reader};
use crate::target::{self, Resolved, TargetFlags};
use crate::text::{duration, plain};

const METHOD: &str = "logs.tail";

/// The pause between two looks, as the official command has it.
const PAUSE: Duration = Duration::from_secs(1);

/// The pauses before trying again; the last one repeats.
const RETRY: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
];

pub(super) fn run(args: TailArgs, context: &Context) -> Result<Exit, Failure> {
    let flags = TargetFlags::read(args.target)?;
    let resolved = target::find(Surface::Call, &flags, context)?;
    let mut log = Log {
        resolved: &resolved,
        timeout: flags.timeout,
        limit: args.limit,
        cursor: None,
        format: context.format,
    };
    let mut link = Link::open_or_explain(&resolved, &[METHOD], flags.timeout)?;
    let mut reader = log.show(&mut link)?;
    link.connection.close();
    let mut failures = 0;
    while args.follow && reader == Reader::There {
        thread::sleep(PAUSE);
        match log.follow() {
            Ok(found) => reader = found,
            // Trying again would change nothing.
            Err(failure) if !may_pass(&failure) => return Err(failure),
            Err(failure) => {
                let pause = RETRY
                    .get(failures)
                    .or(RETRY.last())
                    .copied()
                    .unwrap_or(PAUSE);
                failures += 1;
                output::note(&format!(
                    "{} Trying again in {}.",
                    failure.message,
                    duration(pause)
                ));
                thread::sleep(pause);
                continue;
            }
        }
        failures = 0;
    }
    Ok(Exit::Ok)
}

struct Log<'a> {
    resolved: &'a Resolved,
    timeout: Duration,
    limit: u16,
    /// Where the last answer ended: nothing is shown twice, after a loss either.
    cursor: Option<u64>,
    format: Format,
}

impl Log<'_> {
    /// Shows what is new until the connection has to be another one.
    fn follow(&mut self) -> Result<Reader, Failure> {
        let mut link = Link::open_or_explain(self.resolved, &[METHOD], self.timeout)?;
        let started = std::time::Instant::now();
        // A connection has one deadline for everything; before that, another one takes over.
        while started.elapsed() + PAUSE * 2 < self.timeout {
            if self.show(&mut link)? == Reader::Gone {
                return Ok(Reader::Gone);
            }
            thread::sleep(PAUSE);
        }
        let reader = self.show(&mut link)?;
        link.connection.close();
        Ok(reader)
    }

    fn show(&mut self, link: &mut Link<'_>) -> Result<Reader, Failure> {
        let mut params = json!({ "limit": self.limit });
        if let (Some(cursor), serde_json::Value::Object(fields)) = (self.cursor, &mut params) {
            // What came since is wanted whole.
            fields.insert("cursor".into(), cursor.into());
            fields.insert("limit".into(), 5_000.into());
        }
        let params = RawJson::encode(&params)
            .map_err(|error| Failure::new(Exit::Failed, "params", error.to_string(), ""))?;
        let answer = link.call(METHOD, params)?;
        let tail: LogTail = answer.parse().map_err(|error| {
            Failure::new(
                Exit::Failed,
                "answer",
                format!("The gateway's answer cannot be read: {error}."),
                "Update clawgate or the gateway.",
            )
        })?;
        if tail.reset == Some(true) {
            output::note("the log was started anew");
        }
        if tail.truncated == Some(true) && self.cursor.is_some() {
            output::note("lines were left out");
        }
        self.cursor = Some(tail.cursor);
        for line in &tail.lines {
            let document = json!({ "type": "log", "line": line });
            if output::stream(self.format, &document, &format!("{}\n", plain(line)))?
                == Reader::Gone
            {
                return Ok(Reader::Gone);
            }
        }
        Ok(Reader::There)
    }
}

/// Whether another attempt may succeed.
fn may_pass(failure: &Failure) -> bool {
    matches!(failure.exit, Exit::Unreachable | Exit::TimedOut)
}
