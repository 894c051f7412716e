//! The gateway's own files: its token, its key, its lock. All in one folder, for the owner only.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use clawgate_core::{
    config::paths::Profile, device::DeviceIdentity, secret::Secret, time::WallTime,
};
use serde::{Deserialize, Serialize};

use super::error::RunError;
use crate::{device::wall_time, private_file};

/// The lock's name.
pub(crate) const LOCK: &str = "gateway.lock";

/// How long a gateway that ends is waited for: longer than its end may take.
const ENDING: Duration = Duration::from_secs(60);

/// How long a holder may take to say who it is.
const WRITING: Duration = Duration::from_millis(500);

/// How often the lock is tried meanwhile.
const POLL: Duration = Duration::from_millis(25);

/// The folder, created for the owner only.
#[derive(Debug)]
pub(crate) struct StateFolder(PathBuf);

/// Held for as long as the gateway runs. The system lets go of it when the process ends, however it
/// ends.
#[derive(Debug)]
pub(crate) struct GatewayLock {
    file: File,
    holder: Holder,
}

/// Who holds the lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Holder {
    /// The process.
    pub(crate) pid: u32,
    /// Where it listens, as URLs.
    pub(crate) addresses: Vec<String>,
    /// What it does.
    pub(crate) phase: Phase,
    /// Its profile, if it has a name.
    pub(crate) profile: Option<String>,
    /// Its config file.
    pub(crate) config: Option<PathBuf>,
    /// When it took the lock, in milliseconds since 1970.
    pub(crate) since: u64,
    /// Its version.
    pub(crate) version: Option<String>,
    /// Why it did not start itself anew when it was last asked to.
    pub(crate) not_restarted: Option<String>,
}

/// What the holder of a lock does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// It has not said yet that it serves.
    Starting,
    /// It serves.
    #[default]
    Serving,
    /// It ends.
    Stopping,
    /// It ends, to start itself anew in the same process.
    Restarting,
}

impl Holder {
    /// A gateway that starts now.
    pub(crate) fn of_this_process(profile: &Profile, config: &Path) -> Self {
        Self {
            pid: process::id(),
            phase: Phase::Starting,
            profile: profile.name().map(str::to_owned),
            config: Some(config.to_owned()),
            since: wall_time().0,
            version: Some(env!("CARGO_PKG_VERSION").into()),
            ..Self::default()
        }
    }

    /// Whose gateway it is: `profile rescue, config PATH, since TIME`.
    pub(crate) fn whose(&self) -> String {
        let profile = match &self.profile {
            Some(name) => format!("profile {name}"),
            None => "the default profile".into(),
        };
        let config = self.config.as_ref().map_or_else(String::new, |config| {
            format!(", config {}", crate::text::plain(&config.to_string_lossy()))
        });
        let since = match self.since {
            0 => String::new(),
            since => format!(", since {}", WallTime(since).to_rfc3339()),
        };
        format!("{}{config}{since}", crate::text::plain(&profile))
    }
}

/// The gateway that runs on this state, if one does. The lock itself is not tried: that would be in
/// the way of a gateway that starts at this moment.
pub(crate) fn running_gateway(own: &Path) -> Option<Holder> {
    let text = fs::read_to_string(own.join(LOCK)).ok()?;
    let holder: Holder = serde_json::from_str(&text).ok()?;
    if holder.pid == 0 {
        return None;
    }
    lives(holder.pid).then_some(holder)
}

/// Who holds the lock, certainly: the system is asked whether it is held. A gateway that starts at this
/// very moment tries again.
pub(crate) fn lock_holder(own: &Path) -> Option<Holder> {
    let mut file = File::open(own.join(LOCK)).ok()?;
    let begun = Instant::now();
    loop {
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {}
            Ok(()) | Err(TryLockError::Error(_)) => return None,
        }
        let mut text = String::new();
        file.rewind().ok()?;
        file.read_to_string(&mut text).ok()?;
        match serde_json::from_str::<Holder>(&text) {
            Ok(holder) if holder.pid != 0 => return Some(holder),
            // It is just being written.
            Ok(_) | Err(_) if begun.elapsed() < WRITING => thread::sleep(POLL),
            Ok(_) | Err(_) => return None,
        }
    }
}

/// Whether there is such a process. Where the system does not say, there is.
fn lives(pid: u32) -> bool {
    let here = Path::new("/proc/self").exists();
    !here || Path::new("/proc").join(pid.to_string()).exists()
}

impl StateFolder {
    /// Opens the folder, making it where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, RunError> {
        private_file::make_folder(path).map_err(RunError::file("make the folder", path))?;
        Ok(Self(path.to_owned()))
    }

    /// A file in the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes sure that no other gateway runs on this state. One that is about to end is waited for.
    pub(crate) fn lock(&self, holder: Holder) -> Result<GatewayLock, RunError> {
        let path = self.file(LOCK);
        let fail = RunError::file("open the lock", &path);
        let mut options = private_file::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        let begun = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(RunError::file("lock", &path)(error));
                }
            }
            let mut text = String::new();
            // The holder may be just writing it: then nothing is known of it.
            let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
            let other: Option<Holder> = serde_json::from_str(&text).ok();
            let patience = match &other {
                Some(other) if matches!(other.phase, Phase::Stopping | Phase::Restarting) => ENDING,
                Some(other) if lives(other.pid) => Duration::ZERO,
                // What stands there is old, or half of something.
                Some(_) | None => WRITING,
            };
            if begun.elapsed() >= patience {
                return Err(RunError::AlreadyRunning {
                    holder: Box::new(other.unwrap_or_default()),
                    lock: path,
                });
            }
            if patience == ENDING && !told {
                told = true;
                crate::output::note("Waiting for the gateway before this one to end.");
            }
            thread::sleep(POLL);
        }
        let mut lock = GatewayLock { file, holder };
        lock.write()
            .map_err(RunError::file("write the lock", &path))?;
        Ok(lock)
    }

    /// The token of an earlier start.
    pub(crate) fn kept_token(&self, path: &Path) -> Result<Option<Secret>, RunError> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Secret::non_blank(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RunError::file("read the token", path)(error)),
        }
    }

    /// The gateway's key, made at the first start.
    pub(crate) fn identity(&self) -> Result<DeviceIdentity, RunError> {
        let path = self.file("identity.key");
        match fs::read(&path) {
            Ok(bytes) => match bytes.try_into() {
                Ok(seed) => Ok(DeviceIdentity::from_seed(&seed)),
                Err(_) => Err(RunError::BrokenKey { path }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let seed = super::random()?;
                write_private(&path, &seed)?;
                Ok(DeviceIdentity::from_seed(&seed))
            }
            Err(error) => Err(RunError::file("read the key", &path)(error)),
        }
    }
}

impl GatewayLock {
    /// Writes down that it serves, and where.
    pub(crate) fn serving(&mut self, addresses: Vec<String>) -> io::Result<()> {
        self.holder.addresses = addresses;
        self.enter(Phase::Serving)
    }

    /// Writes down what it does now.
    pub(crate) fn enter(&mut self, phase: Phase) -> io::Result<()> {
        self.holder.phase = phase;
        self.write()
    }

    /// Writes down that it goes on as it is, and why.
    pub(crate) fn not_restarted(&mut self, why: String) -> io::Result<()> {
        self.holder.not_restarted = Some(why);
        self.write()
    }

    /// Written at once, so that nobody reads a half.
    fn write(&mut self) -> io::Result<()> {
        let text = serde_json::to_vec(&self.holder)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&text)?;
        self.file.flush()
    }
}

/// Writes a file for the owner only, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    private_file::write(path, bytes).map_err(RunError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        let state = StateFolder::open(&own).unwrap();
        let me = Holder::of_this_process(&Profile::Default, Path::new("/c/openclaw.json"));
        let mut lock = state.lock(me.clone()).unwrap();
        assert_eq!(running_gateway(&own).unwrap().phase, Phase::Starting);
        lock.serving(vec!["ws://127.0.0.1:1".into()]).unwrap();
        let Err(RunError::AlreadyRunning { holder, .. }) = state.lock(me.clone()) else {
            panic!("locked twice");
        };
        assert_eq!(holder.pid, process::id());
        assert_eq!(holder.addresses, ["ws://127.0.0.1:1"]);
        assert!(
            holder
                .whose()
                .starts_with("the default profile, config /c/openclaw.json, since 2")
        );
        assert_eq!(running_gateway(&own), Some(*holder));
        drop(lock);
        assert!(state.lock(me).is_ok());
    }

    #[test]
    fn a_gateway_that_ends_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        let state = StateFolder::open(&own).unwrap();
        let me = Holder::of_this_process(&Profile::Dev, Path::new("/c"));
        let mut first = state.lock(me.clone()).unwrap();
        first.enter(Phase::Stopping).unwrap();
        let waiting = thread::spawn({
            let state = StateFolder::open(&own).unwrap();
            move || state.lock(me).map(|lock| lock.holder.profile)
        });
        // Whether the other thread waits yet or not, it gets the lock.
        drop(first);
        assert_eq!(waiting.join().unwrap().unwrap().as_deref(), Some("dev"));
    }

    #[test]
    fn what_older_versions_wrote_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{{\"pid\":{},\"addresses\":[\"ws://h\"]}}", process::id());
        fs::write(folder.path().join(LOCK), text).unwrap();
        let holder = running_gateway(folder.path()).unwrap();
        assert_eq!(holder.addresses, ["ws://h"]);
        assert_eq!(holder.phase, Phase::Serving);
        assert_eq!(holder.whose(), "the default profile");
    }

    #[test]
    fn the_key_is_made_once_and_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(&folder.path().join("own")).unwrap();
        let first = state.identity().unwrap();
        assert_eq!(state.identity().unwrap().id(), first.id());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(state.file("identity.key"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(state.file("identity.key"), b"short").unwrap();
        assert!(matches!(state.identity(), Err(RunError::BrokenKey { .. })));
    }
}
