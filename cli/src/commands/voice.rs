//! `voice`: recognised speech, forwarded to the gateway when a wake word was said.

use std::io::{self, BufRead};
use std::time::{Duration, Instant};

use clawgate_core::client::Call;
use clawgate_core::credentials::Surface;
use clawgate_core::frame::RawJson;
use clawgate_core::wake::{Destination, Heard, Wake};
use serde_json::{Value, json};

use super::agent::reply;
use crate::context::Context;
use crate::conversation::fresh_key;
use crate::dial::Link;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format, Reader};
use crate::target::{self, Resolved, TargetFlags};
use crate::text;
use crate::voice_args::VoiceArgs;

/// How old the gateway's words may get.
const FRESH: Duration = Duration::from_secs(30);

/// The longest line that is heard, in bytes.
const MAX_LINE: usize = 16 * 1024;

pub(super) fn run(args: VoiceArgs, context: &Context) -> Result<Exit, Failure> {
    let flags = TargetFlags::read(args.target)?;
    let resolved = target::find(Surface::Call, &flags, context)?;
    let mut voice = Voice {
        wake: Wake::new(&Value::Null, &Value::Null),
        asked: Instant::now(),
        resolved: &resolved,
        timeout: flags.timeout,
        reply_timeout: args.reply_timeout,
        session: args.session_key,
        format: context.format,
    };
    voice.ask()?;
    if context.format == Format::Text {
        output::note(&format!(
            "wake words: {}",
            text::plain(&voice.wake.words().join(", "))
        ));
    }
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| {
            Failure::new(
                Exit::Failed,
                "input_unreadable",
                format!("Standard input could not be read: {error}."),
                "Give lines of text in UTF-8.",
            )
        })?;
        if line.len() <= MAX_LINE && voice.hear(&line)? == Reader::Gone {
            break;
        }
    }
    Ok(Exit::Ok)
}

struct Voice<'a> {
    wake: Wake,
    /// When the words were asked for.
    asked: Instant,
    resolved: &'a Resolved,
    timeout: Duration,
    reply_timeout: Duration,
    session: String,
    format: Format,
}

impl Voice<'_> {
    /// Asks the gateway for its words and routes.
    fn ask(&mut self) -> Result<(), Failure> {
        const METHODS: [&str; 2] = ["voicewake.get", "voicewake.routing.get"];
        let mut link = Link::open_or_explain(self.resolved, &METHODS, self.timeout)?;
        let mut answers = Vec::new();
        for method in METHODS {
            let answer = link.call(method, RawJson::empty_object())?;
            answers.push(answer.parse::<Value>().unwrap_or_default());
        }
        link.connection.close();
        let part = |index: usize, name: &str| {
            let answer = answers.get(index).and_then(|answer| answer.get(name));
            answer.cloned().unwrap_or_default()
        };
        self.wake.update(&part(0, "triggers"), &part(1, "config"));
        self.asked = Instant::now();
        Ok(())
    }

    fn hear(&mut self, line: &str) -> Result<Reader, Failure> {
        if self.asked.elapsed() > FRESH {
            // The words that are known will do, if the gateway is away for a moment.
            self.ask().or_else(settle)?;
        }
        match self.wake.hear(line) {
            Heard::Nothing => Ok(Reader::There),
            Heard::Listening { word } => output::stream(
                self.format,
                &json!({ "type": "listening", "word": word }),
                "",
            ),
            Heard::Message { word, text, to } => self.say(&word, &text, &to),
        }
    }

    fn say(&self, word: &str, text: &str, to: &Destination) -> Result<Reader, Failure> {
        let session = match to {
            Destination::Current => self.session.clone(),
            Destination::Agent(agent) => format!("agent:{agent}:main"),
            Destination::Session(session) => session.clone(),
        };
        match self.forward(text, &session) {
            Ok(answer) => {
                let said = reply(&answer);
                let event = json!({
                    "type": "reply", "word": word, "text": text, "sessionKey": session,
                    "reply": said.trim_end(),
                });
                output::stream(self.format, &event, &text::lines(&said))
            }
            Err(failure) => settle(failure).map(|()| Reader::There),
        }
    }

    fn forward(&self, text: &str, session: &str) -> Result<Value, Failure> {
        let params = json!({
            "message": text,
            "sessionKey": session,
            "idempotencyKey": fresh_key()?,
            "timeout": self.reply_timeout.as_secs(),
        });
        let params = RawJson::encode(&params)
            .map_err(|error| Failure::new(Exit::Failed, "params", error.to_string(), ""))?;
        let timeout = self.timeout + self.reply_timeout;
        let mut link = Link::open_or_explain(self.resolved, &["agent"], timeout)?;
        let answer = link.run(Call::new("agent", params).until_final())?;
        link.connection.close();
        Ok(answer.parse().unwrap_or_default())
    }
}

/// Shows a failure that another line need not meet again. What only a person can change ends the
/// command.
fn settle(failure: Failure) -> Result<(), Failure> {
    match failure.exit {
        Exit::Unreachable | Exit::TimedOut | Exit::Refused | Exit::Failed => {
            output::note(failure.to_text().trim_end());
            Ok(())
        }
        Exit::Ok
        | Exit::Usage
        | Exit::Unauthorised
        | Exit::WrongCertificate
        | Exit::Configuration
        | Exit::Interrupted => Err(failure),
    }
}
