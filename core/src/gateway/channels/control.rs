//! Starting, stopping and logging accounts out, because an operator wants it.

use super::accounts::State;
use crate::{
    channel::{AccountRef, Link},
    gateway::Gateway,
    protocol::{RpcCode, RpcError},
    time::Now,
};

/// What became of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Begun {
    /// It runs now, or does as soon as nobody else holds its lock.
    Started,
    /// It did already.
    AlreadyRunning,
}

impl Begun {
    pub(in crate::gateway) const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::AlreadyRunning => "already-running",
        }
    }
}

impl Gateway {
    /// The account that a caller means: the channel's main one where none is named.
    ///
    /// # Errors
    /// When there is none; the error names those that are there.
    pub(in crate::gateway) fn find_account(
        &self,
        channel: &str,
        account: Option<&str>,
    ) -> Result<AccountRef, RpcError> {
        let channel = channel.trim();
        let names = self.channel_names();
        if !names.iter().any(|name| name == channel) {
            return Err(RpcError::invalid_request(format!(
                "unknown channel '{}': {}",
                shown(channel),
                configured(&names)
            )));
        }
        let wanted = account.map(str::trim).filter(|account| !account.is_empty());
        let name = match wanted {
            Some(account) => AccountRef::new(channel, account),
            None => AccountRef::new(channel, self.default_account(channel)),
        };
        if self.has_account(&name) {
            return Ok(name);
        }
        let known: Vec<String> = self
            .account_names()
            .into_iter()
            .filter(|known| known.channel == channel)
            .map(|known| known.account)
            .collect();
        Err(RpcError::invalid_request(format!(
            "unknown account '{}' of {channel}: there is {}",
            shown(&name.account),
            known.join(", ")
        )))
    }

    /// The channel that is meant where none is named: the only one.
    ///
    /// # Errors
    /// When there is none, or several.
    pub(in crate::gateway) fn only_channel(&self) -> Result<String, RpcError> {
        let mut names = self.channel_names();
        match (names.pop(), names.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                names.push(last);
                Err(RpcError::invalid_request(format!(
                    "channel is missing: {}",
                    configured(&names)
                )))
            }
            (None, _) => Err(RpcError::invalid_request("no channel is configured")),
        }
    }

    /// Whether something can be said through an account, now or when its service is back.
    ///
    /// # Errors
    /// Why not, with what to do.
    pub(in crate::gateway) fn usable_account(&self, name: &AccountRef) -> Result<(), RpcError> {
        self.startable_account(name)?;
        let kept = self.channels.account(name);
        if kept.is_some_and(|record| record.stopped) {
            let message = format!(
                "{name} is stopped; `clawgate channels start {} --account {}` starts it",
                name.channel, name.account
            );
            return Err(RpcError::new(RpcCode::Unavailable, message));
        }
        Ok(())
    }

    fn startable_account(&self, name: &AccountRef) -> Result<(), RpcError> {
        let unavailable = |message| RpcError::new(RpcCode::Unavailable, message);
        if let Some(Err(why)) = self.account_problem(name) {
            return Err(unavailable(format!("{name} cannot run: {why}")));
        }
        let enabled = |name| {
            let running = self.accounts.all.get(name);
            running.is_some_and(|running| running.account.enabled)
        };
        if !enabled(name) {
            return Err(unavailable(format!("{name} is disabled in the config")));
        }
        Ok(())
    }

    /// Starts an account, and keeps that it is meant to run.
    ///
    /// # Errors
    /// Why it cannot run.
    pub(in crate::gateway) fn start_account(
        &mut self,
        now: Now,
        name: &AccountRef,
    ) -> Result<Begun, RpcError> {
        self.startable_account(name)?;
        let running = self.accounts.all.get(name);
        let is_blocked = running.is_some_and(|running| running.status().link == Link::Blocked);
        let begun = match running.map(|running| &running.state) {
            Some(State::On) if is_blocked => Begun::Started,
            Some(State::On | State::Locking) => Begun::AlreadyRunning,
            Some(State::Off | State::Locked { .. }) | None => Begun::Started,
        };
        self.channels
            .change_account(&mut self.out.journal, name, |record| record.stopped = false);
        self.begin_account(now, name);
        // What was in its way may be gone: the service knows the token again.
        if is_blocked {
            self.run_account(now, name);
        }
        self.drive_channels(now);
        self.refresh_health(now);
        Ok(begun)
    }

    /// Stops an account. It stays so over restarts, until it is started by a call. Gives whether it
    /// ran.
    pub(in crate::gateway) fn stop_account(&mut self, now: Now, name: &AccountRef) -> bool {
        let was = self.accounts.all.get(name).map(|running| &running.state);
        let ran = was.is_some_and(|state| *state != State::Off);
        self.channels
            .change_account(&mut self.out.journal, name, |record| record.stopped = true);
        self.halt_account(now, name);
        self.drive_channels(now);
        self.refresh_health(now);
        ran
    }

    /// Stops an account and forgets what was learned with it: where its list went on, and who was let
    /// in. Its token is the config's, and stays. Gives whether there was anything to forget.
    pub(in crate::gateway) fn log_out_account(&mut self, now: Now, name: &AccountRef) -> bool {
        self.stop_account(now, name);
        let mut cleared = false;
        self.channels
            .change_account(&mut self.out.journal, name, |record| {
                cleared = record.cursor.take().is_some();
            });
        let senders: Vec<String> = self
            .channels
            .senders()
            .filter(|record| record.account == *name)
            .map(|record| record.sender.id.clone())
            .collect();
        for sender in senders {
            cleared |= self.forget_sender(name, &sender);
        }
        cleared
    }
}

fn configured(names: &[String]) -> String {
    if names.is_empty() {
        "none is configured".into()
    } else {
        format!("configured are {}", names.join(", "))
    }
}

/// A name that somebody made up, short.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}
