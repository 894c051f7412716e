//! The gateway's log: lines for people on a terminal, JSON otherwise, and JSON in a file that
//! `logs.tail` reads. No frame and no secret is ever logged.

mod file;
mod line;
mod repeats;

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use clawgate_core::{
    config::{EnvVars, LogLevel, LogStyle, LoggingConfig},
    time::WallTime,
};
use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

use file::{LogFile, MAX_FILE};
use line::{Colours, Line};
use repeats::{LeftOut, Repeats};

/// The variable that overrides both levels of the config.
const LEVEL: &str = "OPENCLAW_LOG_LEVEL";

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// What an operator should know.
    Normal,
    /// What a developer wants to know.
    Verbose,
}

/// What is written where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogPlan {
    /// On standard error.
    console: LevelFilter,
    style: LogStyle,
    colours: Colours,
    /// In the file.
    file: LevelFilter,
    max_file: u64,
}

impl LogPlan {
    /// The flags come first, then the environment, then the config. A terminal is for people, and
    /// everything else for programs.
    pub(crate) fn new(
        config: LoggingConfig,
        env: &EnvVars,
        verbosity: Verbosity,
        style: Option<LogStyle>,
    ) -> Self {
        let given = env.non_blank(LEVEL).and_then(LogLevel::parse);
        let level = |configured: Option<LogLevel>| match verbosity {
            Verbosity::Verbose => LevelFilter::DEBUG,
            Verbosity::Normal => filter(given.or(configured).unwrap_or(LogLevel::Info)),
        };
        let is_terminal = io::stderr().is_terminal();
        let style = style.or(config.console_style).unwrap_or(if is_terminal {
            LogStyle::Text
        } else {
            LogStyle::Json
        });
        Self {
            console: level(config.console_level),
            style,
            colours: if is_terminal && std::env::var_os("NO_COLOR").is_none() {
                Colours::On
            } else {
                Colours::Off
            },
            file: level(config.level),
            max_file: config.max_file_bytes.unwrap_or(MAX_FILE),
        }
    }
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Silent => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Begins to log. A second call in one process changes nothing.
pub(crate) fn start(file: &Path, plan: LogPlan) -> io::Result<()> {
    let level = plan.console.max(plan.file);
    let targets = Targets::new()
        .with_target("clawgate", level)
        .with_target("clawgate_smol", level)
        .with_default(level.min(LevelFilter::WARN));
    let log = Log {
        plan,
        state: Mutex::new(State {
            file: LogFile::open(file, plan.max_file)?,
            repeats: Repeats::default(),
            file_works: true,
        }),
    };
    let _ = Registry::default()
        .with(log.with_filter(targets))
        .try_init();
    Ok(())
}

/// Where events become lines.
#[derive(Debug)]
struct Log {
    plan: LogPlan,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: LogFile,
    repeats: Repeats,
    file_works: bool,
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = Line::of(event);
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for LeftOut { count, about } in state.repeats.over(now) {
            let message = format!("{count} more lines like this were left out: {about}");
            self.write(&mut state, &Line::own(Level::INFO, message));
        }
        // Who asks for details wants all of them; the size of the file is bounded in any case.
        let is_detail = line.level > Level::INFO;
        if is_detail || state.repeats.take(now, line.kind(), &line.about()) {
            self.write(&mut state, &line);
        }
    }
}

impl Log {
    fn write(&self, state: &mut State, line: &Line) {
        let at = clawgate_smol::now().wall;
        let plan = &self.plan;
        if line.level <= plan.console {
            let text = line.write(at, plan.style, plan.colours);
            // Nobody is left to tell when standard error is closed.
            let _ = io::stderr().lock().write_all(text.as_bytes());
        }
        if line.level <= plan.file {
            let written = state
                .file
                .write(&line.write(at, LogStyle::Json, Colours::Off));
            self.note_file(state, at, written);
        }
    }

    /// A file that cannot be written is told once, where it can still be read.
    fn note_file(&self, state: &mut State, at: WallTime, written: io::Result<()>) {
        let worked = std::mem::replace(&mut state.file_works, written.is_ok());
        if let (true, Err(error)) = (worked, written) {
            let line = Line::own(
                Level::WARN,
                format!("the log file cannot be written: {error}"),
            );
            let text = line.write(at, self.plan.style, self.plan.colours);
            let _ = io::stderr().lock().write_all(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::{info, subscriber::with_default, warn};

    use super::*;

    fn logged(plan: LogPlan, work: impl FnOnce()) -> Vec<serde_json::Value> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.log");
        let log = Log {
            plan,
            state: Mutex::new(State {
                file: LogFile::open(&path, plan.max_file).unwrap(),
                repeats: Repeats::default(),
                file_works: true,
            }),
        };
        with_default(Registry::default().with(log), work);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn plan() -> LogPlan {
        LogPlan {
            console: LevelFilter::OFF,
            style: LogStyle::Json,
            colours: Colours::Off,
            file: LevelFilter::INFO,
            max_file: MAX_FILE,
        }
    }

    #[test]
    fn fields_stand_beside_the_message() {
        let lines = logged(plan(), || {
            info!(
                conn = %"conn-3",
                req = "a\nb",
                durationMs = 1.23456,
                count = 7_u64,
                level = "x",
                "call"
            );
            tracing::debug!("not asked for");
        });
        let [line] = &lines[..] else {
            panic!("{lines:?}");
        };
        assert_eq!(line["level"], "info");
        assert_eq!(line["message"], "call");
        assert_eq!(
            (&line["conn"], &line["req"]),
            (&"conn-3".into(), &"a\nb".into())
        );
        assert_eq!(
            (&line["durationMs"], &line["count"]),
            (&1.235.into(), &7.into())
        );
        assert_eq!(line["field"], "x");
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn repeats_are_left_out_whoever_causes_them() {
        let lines = logged(plan(), || {
            for number in 0..500 {
                warn!(conn = %format!("conn-{number}"), method = "health", "refused");
            }
            warn!(method = "status", "refused");
        });
        assert_eq!(lines.len(), 21);
        assert_eq!(lines.last().unwrap()["method"], "status");
    }

    #[test]
    fn text_is_for_people_and_steers_no_terminal() {
        let mut line = Line::own(Level::WARN, "a\u{1b}[1m b".into());
        line.level = Level::WARN;
        let text = line.write(WallTime(0), LogStyle::Text, Colours::Off);
        assert_eq!(text, "1970-01-01T00:00:00.000Z WARN  a[1m b\n");
    }

    #[test]
    fn flags_come_before_the_environment_and_that_before_the_config() {
        let config = LoggingConfig {
            level: Some(LogLevel::Error),
            console_level: Some(LogLevel::Silent),
            console_style: Some(LogStyle::Text),
            max_file_bytes: Some(100_000),
        };
        let env = |level: &str| EnvVars::from_iter([(LEVEL, level)]);
        let plan = |env: &EnvVars, verbosity, style| LogPlan::new(config, env, verbosity, style);
        let of_config = plan(&EnvVars::new(), Verbosity::Normal, None);
        assert_eq!(of_config.file, LevelFilter::ERROR);
        assert_eq!(of_config.console, LevelFilter::OFF);
        assert_eq!(
            (of_config.style, of_config.max_file),
            (LogStyle::Text, 100_000)
        );
        let of_env = plan(&env("warn"), Verbosity::Normal, Some(LogStyle::Json));
        assert_eq!(
            (of_env.file, of_env.console),
            (LevelFilter::WARN, LevelFilter::WARN)
        );
        assert_eq!(of_env.style, LogStyle::Json);
        let of_flag = plan(&env("warn"), Verbosity::Verbose, None);
        assert_eq!(of_flag.file, LevelFilter::DEBUG);
    }
}
