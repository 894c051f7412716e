//! The config file of a running gateway, looked at again and again. What a change needs is the core's to
//! say; this reads, hands in, and tells.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use clawgate_core::config::{ConfigFile, ReloadMode, ReloadPlan, names, plan_reload};
use clawgate_core::gateway::{LiveConfig, ServerSecrets};
use clawgate_smol::Live;
use serde_json::Value;
use tracing::{info, warn};

use super::auth::{Decided, decide_on};
use super::reload::server_secrets;
use super::{
    RunError, RunRequest, agents, channels, configured_agents, last_good, random, read_config,
};

/// How often the file is looked at.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest that changes in quick succession are waited for.
const LONGEST_DEBOUNCE: Duration = Duration::from_secs(60);

/// What tells one state of a file from another without reading it.
type Mark = Option<(SystemTime, u64, u64)>;

/// Looks at the file until it is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the watcher knows.
struct Watch {
    request: RunRequest,
    live: Live,
    /// What the gateway started with.
    started: Value,
    /// What it took up last.
    taken_up: Value,
    /// The text that was last decided on.
    seen: Option<String>,
    debounce: Duration,
    last_good: PathBuf,
}

impl Watcher {
    /// Begins. `started` is what the gateway runs with, and `seen` whether that is what the file says.
    pub(super) fn start(
        request: RunRequest,
        live: Live,
        started: &ConfigFile,
        fell_back: bool,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut watch = Watch {
            last_good: request.places.last_good_config_file(),
            seen: started
                .exists
                .then(|| started.text.clone())
                .filter(|_| !fell_back),
            debounce: Duration::from_millis(started.config.gateway.reload.debounce_ms),
            started: started.parsed.clone(),
            taken_up: started.parsed.clone(),
            request,
            live,
        };
        if fell_back {
            // It is what could not be used.
            watch.seen = fs::read_to_string(&watch.request.places.config).ok();
        }
        let ended = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("config-watch".into())
            .spawn(move || watch.run(&ended))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in the thread has already been reported on standard error.
            let _ = thread.join();
        }
    }
}

impl Watch {
    fn run(&mut self, stop: &AtomicBool) {
        let path = self.request.places.config.clone();
        let mut last = None;
        let mut first = true;
        while !stop.load(Ordering::SeqCst) {
            let mark = mark(&path);
            // At first, it may have changed between the start and now.
            if first || mark != last {
                if !first {
                    self.settle(&path, stop);
                }
                first = false;
                last = self::mark(&path);
                self.look(&path);
            }
            thread::park_timeout(PAUSE);
        }
    }

    /// Waits until the file has not changed for a while: editors write in several steps.
    fn settle(&self, path: &Path, stop: &AtomicBool) {
        let debounce = self.debounce.min(LONGEST_DEBOUNCE);
        let give_up = Instant::now() + LONGEST_DEBOUNCE;
        let mut seen = mark(path);
        let mut since = Instant::now();
        while since.elapsed() < debounce && Instant::now() < give_up && !stop.load(Ordering::SeqCst)
        {
            thread::park_timeout(debounce.saturating_sub(since.elapsed()).min(PAUSE));
            let now = mark(path);
            if now != seen {
                seen = now;
                since = Instant::now();
            }
        }
    }

    fn look(&mut self, path: &Path) {
        let text = match fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // Nothing can be said of it; whoever made it so will notice.
            Err(error) => {
                warn!(%error, "the config file could not be read; the gateway goes on as before");
                return;
            }
        };
        if text == self.seen {
            return;
        }
        self.seen.clone_from(&text);
        if text.is_none() {
            let problem = format!(
                "the config file {} is gone; the gateway goes on with what it said",
                path.display()
            );
            warn!("{problem}");
            self.live.set_config_problems(vec![problem]);
            return;
        }
        let decided =
            read_config(path, &self.request.env).and_then(|file| decide_on(file, &self.request));
        match decided {
            Ok(decided) => self.take_up(decided),
            Err(error) => self.refuse(&error),
        }
    }

    /// The gateway goes on with what it has.
    fn refuse(&self, error: &RunError) {
        let (what, next) = last_good::in_one_line(error);
        warn!("the changed config is not taken up: {what} {next}");
        self.live.set_config_problems(vec![format!(
            "the config file was changed and cannot be used, so the gateway goes on with what it said \
             before: {what}"
        )]);
    }

    fn take_up(&mut self, decided: Decided) {
        let Decided { file, started, .. } = decided;
        let reload = file.config.gateway.reload;
        let plan = plan_reload(&self.started, &self.taken_up, &file.parsed, reload.mode);
        self.debounce = Duration::from_millis(reload.debounce_ms);
        let mut problems = Vec::new();
        if !plan.live.is_empty() {
            let secrets = plan
                .takes_up(&["gateway.auth", "secrets"])
                .then(|| server_secrets(started, &self.request));
            match secrets.transpose() {
                Ok(secrets) => problems.extend(self.hand_in(&file, &plan, secrets)),
                Err(error) => {
                    self.refuse(&error);
                    return;
                }
            }
        }
        self.tell(&plan, reload.mode);
        problems.extend(plan.notice());
        let all_is_well = problems.is_empty();
        self.live.set_config_problems(problems);
        if matches!(reload.mode, ReloadMode::Hot | ReloadMode::Hybrid) {
            self.taken_up = file.parsed.clone();
        }
        if all_is_well {
            last_good::keep(&self.last_good, &file);
        }
    }

    /// Hands in what changed. Gives what did not work.
    fn hand_in(
        &self,
        file: &ConfigFile,
        plan: &ReloadPlan,
        secrets: Option<ServerSecrets>,
    ) -> Option<String> {
        let env = &self.request.env;
        let live = LiveConfig {
            gateway: file.config.gateway.clone(),
            secrets,
            run: file.config.agents.timeout(""),
            agents: configured_agents(file),
            hash: plan.restart.is_empty().then(|| file.hash.clone()),
        };
        let taken = self.live.take_up_config(live);
        // The system's random bytes were there at the start.
        if plan.takes_up(&["agents", "models", "auth", "secrets"])
            && let Ok(seed) = random()
        {
            self.live.take_up_agents(agents::build(file, env, seed));
        }
        if plan.takes_up(&["channels", "secrets"])
            && let Ok(seed) = random()
        {
            self.live.take_up_channels(channels::build(file, env, seed));
        }
        taken.err().map(|why| {
            warn!("the secret of the changed config is not taken up: {why}");
            format!("the secret of the changed config is not taken up: {why}")
        })
    }

    fn tell(&self, plan: &ReloadPlan, mode: ReloadMode) {
        if plan.is_empty() {
            info!("the config says what the gateway runs with");
        }
        if !plan.live.is_empty() {
            info!(keys = names(&plan.live), "config taken up");
        }
        if !plan.reconnect.is_empty() {
            info!(
                keys = names(&plan.reconnect),
                "config changed for clients that connect from now on"
            );
        }
        if let Some(notice) = plan.notice() {
            match mode {
                ReloadMode::Hot | ReloadMode::Hybrid => warn!("{notice}"),
                ReloadMode::Off | ReloadMode::Restart => {
                    warn!("{notice} (gateway.reload.mode takes nothing up before)");
                }
            }
        }
    }
}

fn mark(path: &Path) -> Mark {
    let metadata = fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some((metadata.modified().ok()?, metadata.len(), inode))
}
