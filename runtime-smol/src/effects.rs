//! Work that the gateway machine asks for: files, the process, and Tailscale.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
};

use clawgate_core::{
    agent::Agents,
    channel::Channels,
    gateway::{
        ConfigText, Effect, EffectOutcome, EffectRequest, LogTail, ProcessStats, ServerSecrets,
        TailLog,
    },
    ids::EffectId,
    node::{ApprovalsText, Written},
    secret::Secret,
    store::TranscriptQuery,
};
use tracing::warn;

use crate::{hub::Hub, locks::Locks, sample::rss_bytes, store::Readers, tailscale::Tailscale};

/// Bytes of a configuration file that are read.
const MAX_CONFIG: u64 = 4 * 1024 * 1024;

/// Where the files lie that effects speak of.
#[derive(Clone, Debug)]
pub struct HostFiles {
    /// The configuration.
    pub config: PathBuf,
    /// The log.
    pub log: PathBuf,
}

/// What is to happen to a lock.
pub(crate) enum LockRequest {
    Hold(EffectId, String),
    Release(String),
}

/// A question for Tailscale.
pub(crate) type WhoisRequest = (EffectId, IpAddr);

/// The secrets of the gateway, where the host keeps them. Both calls may block, and both run off the
/// executor's threads.
pub trait SecretsHost: fmt::Debug + Send + Sync {
    /// Reads the configuration and its secret references, and decides the auth as at a start.
    ///
    /// # Errors
    /// Why that is not possible, in words for the operator and without secrets.
    fn read(&self) -> Result<ServerSecrets, String>;

    /// Puts this token in the place of the one that the gateway made for itself.
    ///
    /// # Errors
    /// Why that is not possible; then the old one is still there.
    fn keep_token(&self, token: &Secret) -> Result<(), String>;

    /// Makes the agents of the config anew, with their credentials read again; nothing where they never
    /// change. Called after [`SecretsHost::read`].
    fn read_agents(&self) -> Option<Agents> {
        None
    }

    /// Makes the accounts of channels anew, in the same way.
    fn read_channels(&self) -> Option<Channels> {
        None
    }
}

/// The file of exec approvals, where the host keeps it. Both calls may block, and both run off the
/// executor's threads.
pub trait ApprovalsHost: fmt::Debug + Send + Sync {
    /// Reads the file.
    fn read(&self) -> ApprovalsText;

    /// Replaces the file, if it still is what it was; readable to its owner alone, whole and on disk.
    fn replace(&self, before: &ApprovalsText, after: &Secret) -> Written;
}

/// What effects work with.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) files: HostFiles,
    /// Nothing where the secrets never change.
    pub(crate) secrets: Option<Arc<dyn SecretsHost>>,
    /// Nothing where no such file is kept.
    pub(crate) approvals: Option<Arc<dyn ApprovalsHost>>,
    /// Nothing where the hub keeps them in memory.
    pub(crate) transcripts: Option<Arc<Readers>>,
}

/// Does effects off the executor's threads until the gateway is gone. Several of these share a queue.
/// Tailscale is asked by others: it may be slow, and nobody else should have to wait for it.
pub(crate) async fn work(
    hub: Arc<Hub>,
    queue: smol::channel::Receiver<EffectRequest>,
    tools: Tools,
    whois: smol::channel::Sender<WhoisRequest>,
) {
    while let Ok(EffectRequest { id, effect }) = queue.recv().await {
        let work = match effect {
            // The hub hands these over itself, each kind in its order: what feeds a job must not
            // overtake its start, and what takes a lock again not its release.
            Effect::FeedJob(..)
            | Effect::StartJob(_)
            | Effect::StopJob(_)
            | Effect::HoldLock(_)
            | Effect::ReleaseLock(_)
            | Effect::SampleHost => continue,
            Effect::Whois(ip) => {
                // A closed queue means that the process ends.
                let _ = whois.try_send((id, ip));
                continue;
            }
            Effect::KeepExecApprovals { text, over } => Work::KeepApprovals { text, over },
            Effect::KeepToken(token) => Work::KeepToken(token),
            Effect::ReadConfig => Work::Config,
            Effect::ReadExecApprovals => Work::Approvals,
            Effect::ReadProcess => Work::Process,
            Effect::ReadSecrets => Work::Secrets,
            Effect::ReadTranscript(query) => Work::Transcript(query),
            Effect::TailLog(wanted) => Work::Log(wanted),
        };
        let tools = tools.clone();
        let (outcome, agents, channels) = smol::unblock(move || {
            let outcome = carry_out(&work, &tools);
            let host = tools
                .secrets
                .filter(|_| matches!(outcome, EffectOutcome::Secrets(_)));
            let agents = host.as_ref().and_then(|host| host.read_agents());
            let channels = host.and_then(|host| host.read_channels());
            (outcome, agents, channels)
        })
        .await;
        if let Some(agents) = agents {
            hub.take_up_agents(agents);
        }
        if let Some(channels) = channels {
            hub.take_up_channels(channels);
        }
        hub.complete(id, outcome);
    }
}

/// Asks Tailscale until the gateway is gone. Several of these share a queue.
pub(crate) async fn ask_tailscale(
    hub: Arc<Hub>,
    queue: smol::channel::Receiver<WhoisRequest>,
    tailscale: Tailscale,
) {
    while let Ok((id, ip)) = queue.recv().await {
        let outcome = match tailscale.whois(ip).await {
            Ok(whois) => EffectOutcome::Whois(whois),
            Err(error) => {
                // At most one line for an address in the time that the core remembers a failure.
                warn!(%ip, %error, "tailscale did not say who it is");
                EffectOutcome::Failed(error.to_string())
            }
        };
        hub.complete(id, outcome);
    }
}

/// Takes locks and lets go of them, one after the other, until the gateway is gone.
pub(crate) async fn keep_locks(
    hub: Arc<Hub>,
    queue: smol::channel::Receiver<LockRequest>,
    locks: Option<Arc<Locks>>,
) {
    while let Ok(request) = queue.recv().await {
        let locks = locks.clone();
        match (request, locks) {
            (LockRequest::Hold(id, name), Some(locks)) => {
                let held = smol::unblock(move || locks.hold(&name)).await;
                let outcome = held.map_or_else(EffectOutcome::Failed, |()| EffectOutcome::Done);
                hub.complete(id, outcome);
            }
            (LockRequest::Hold(id, _), None) => {
                let why = "this gateway holds no locks".into();
                hub.complete(id, EffectOutcome::Failed(why));
            }
            (LockRequest::Release(name), Some(locks)) => {
                smol::unblock(move || locks.release(&name)).await;
            }
            (LockRequest::Release(_), None) => {}
        }
    }
}

/// What blocks the thread that does it.
enum Work {
    Approvals,
    KeepApprovals { text: Secret, over: ApprovalsText },
    Config,
    KeepToken(Secret),
    Log(TailLog),
    Process,
    Secrets,
    Transcript(TranscriptQuery),
}

fn carry_out(work: &Work, tools: &Tools) -> EffectOutcome {
    let Tools {
        files,
        secrets,
        approvals,
        transcripts,
    } = tools;
    match work {
        Work::Approvals => with_approvals(approvals.as_ref(), |host| {
            EffectOutcome::ExecApprovals(host.read())
        }),
        Work::KeepApprovals { text, over } => {
            with_approvals(approvals.as_ref(), |host| match host.replace(over, text) {
                Written::Changed => EffectOutcome::ExecApprovals(host.read()),
                Written::Done => EffectOutcome::Done,
                Written::Failed(why) => EffectOutcome::Failed(why),
            })
        }
        Work::Config => match read_config(files) {
            Ok(text) => EffectOutcome::Config(ConfigText { text }),
            Err(error) => failed("configuration file", &error),
        },
        Work::Secrets => with_secrets(secrets.as_ref(), |secrets| {
            secrets
                .read()
                .map(|secrets| EffectOutcome::Secrets(Box::new(secrets)))
        }),
        Work::KeepToken(token) => with_secrets(secrets.as_ref(), |secrets| {
            secrets.keep_token(token).map(|()| EffectOutcome::Done)
        }),
        Work::Transcript(query) => match transcripts.as_ref().map(|readers| readers.ask(query)) {
            Some(Ok(page)) => EffectOutcome::Transcript(page),
            Some(Err(error)) => EffectOutcome::Failed(error),
            None => EffectOutcome::Failed("this gateway keeps no transcripts".into()),
        },
        Work::Process => EffectOutcome::Process(ProcessStats {
            rss_bytes: rss_bytes(),
        }),
        Work::Log(wanted) => match tail_log(files, *wanted) {
            Ok(tail) => EffectOutcome::Log(tail),
            Err(error) => failed("log file", &error),
        },
    }
}

fn with_approvals(
    approvals: Option<&Arc<dyn ApprovalsHost>>,
    act: impl FnOnce(&dyn ApprovalsHost) -> EffectOutcome,
) -> EffectOutcome {
    match approvals {
        Some(approvals) => act(approvals.as_ref()),
        None => EffectOutcome::Failed("this gateway keeps no file of exec approvals".into()),
    }
}

fn with_secrets(
    secrets: Option<&Arc<dyn SecretsHost>>,
    act: impl FnOnce(&dyn SecretsHost) -> Result<EffectOutcome, String>,
) -> EffectOutcome {
    match secrets {
        Some(secrets) => act(secrets.as_ref()).unwrap_or_else(EffectOutcome::Failed),
        None => EffectOutcome::Failed("this gateway's secrets are those of its start".into()),
    }
}

fn failed(what: &str, error: &io::Error) -> EffectOutcome {
    EffectOutcome::Failed(format!("{what}: {error}"))
}

fn read_config(files: &HostFiles) -> io::Result<Option<String>> {
    let file = match File::open(&files.config) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(MAX_CONFIG + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_CONFIG {
        return Err(io::Error::other(format!("larger than {MAX_CONFIG} bytes")));
    }
    Ok(Some(text))
}

/// Whole lines from the cursor on, or the last ones of the file.
fn tail_log(files: &HostFiles, wanted: TailLog) -> io::Result<LogTail> {
    let name = files.log.to_string_lossy().into_owned();
    let mut file = match File::open(&files.log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(LogTail {
                file: name,
                cursor: 0,
                size: 0,
                lines: Vec::new(),
                truncated: None,
                reset: None,
            });
        }
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    let max = wanted.max_bytes as u64;
    let replaced = wanted.cursor.is_some_and(|cursor| cursor > size);
    let cursor = wanted.cursor.filter(|_| !replaced);
    let start = cursor.unwrap_or(0).max(size.saturating_sub(max));
    let mut truncated = start > cursor.unwrap_or(0);
    // A cut in the middle of a line would show half of it.
    let whole = start == 0 || {
        file.seek(SeekFrom::Start(start - 1))?;
        let mut before = [0];
        file.read_exact(&mut before)?;
        before == *b"\n"
    };
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(size - start).read_to_end(&mut bytes)?;
    let end = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    bytes.truncate(end);
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<String> = text
        .lines()
        .skip(usize::from(!whole))
        .map(str::to_owned)
        .collect();
    if lines.len() > wanted.limit {
        truncated = true;
        lines.drain(..lines.len() - wanted.limit);
    }
    Ok(LogTail {
        file: name,
        cursor: start + end as u64,
        size,
        lines,
        truncated: truncated.then_some(true),
        reset: replaced.then_some(true),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tail(text: &str, cursor: Option<u64>, limit: usize, max_bytes: usize) -> LogTail {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        fs::write(&log, text).unwrap();
        let files = HostFiles {
            config: PathBuf::new(),
            log,
        };
        tail_log(
            &files,
            TailLog {
                cursor,
                limit,
                max_bytes,
            },
        )
        .unwrap()
    }

    #[test]
    fn the_end_of_the_log_comes_in_whole_lines() {
        let all = tail("one\ntwo\nthree\nhal", None, 10, 1_000);
        assert_eq!(all.lines, ["one", "two", "three"]);
        assert_eq!((all.cursor, all.size, all.truncated), (14, 17, None));
        assert_eq!(
            tail("one\ntwo\nthree\n", None, 2, 1_000).lines,
            ["two", "three"]
        );
        let cut = tail("one\ntwo\nthree\n", None, 10, 8);
        assert_eq!(
            (cut.lines, cut.truncated),
            (vec!["three".to_owned()], Some(true))
        );
    }

    #[test]
    fn a_cursor_goes_on_where_the_last_answer_ended() {
        assert_eq!(tail("one\ntwo\n", Some(4), 10, 1_000).lines, ["two"]);
        assert!(tail("one\ntwo\n", Some(8), 10, 1_000).lines.is_empty());
        let replaced = tail("one\n", Some(400), 10, 1_000);
        assert_eq!(
            (replaced.lines, replaced.reset),
            (vec!["one".to_owned()], Some(true))
        );
    }
}
