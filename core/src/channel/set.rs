//! All accounts of a gateway.

use std::collections::{BTreeMap, BTreeSet};

use super::{AccessPolicy, AccountRef, Channel};

/// The accounts that a gateway is started with.
///
/// A gateway has those of its config by `Channels::build`, and whatever its embedder adds.
#[derive(Debug, Default)]
pub struct Channels {
    accounts: BTreeMap<AccountRef, Account>,
    mains: BTreeSet<AccountRef>,
}

/// An account as it is configured.
#[derive(Debug)]
pub struct Account {
    /// The channel's name for people, such as `Telegram`.
    pub label: String,
    /// Whether it runs from the start.
    pub enabled: bool,
    /// Who may write to it.
    pub access: AccessPolicy,
    /// What only one gateway of this machine may hold at a time, hashed, such as a bot's token: of two
    /// that listen with it, both would lose messages.
    pub lock: Option<String>,
    /// What all of its settings come to, secrets included, hashed: an account whose digest is the same
    /// after a change of the config goes on undisturbed.
    pub digest: [u8; 32],
    /// The machine; or why there is none, in words for people, with what to do.
    pub machine: Result<Box<dyn Channel>, String>,
}

impl Channels {
    /// Adds an account, or puts it in the place of the one with the same name.
    #[must_use]
    pub fn with(mut self, name: AccountRef, account: Account) -> Self {
        self.accounts.insert(name, account);
        self
    }

    /// Makes an account the one that is meant where only its channel is named. Without this it is
    /// `default`, or else the first.
    #[must_use]
    pub fn with_main(mut self, name: AccountRef) -> Self {
        self.mains.retain(|main| main.channel != name.channel);
        self.mains.insert(name);
        self
    }

    /// What [`Channels::with_main`] was told.
    pub(crate) fn mains(&self) -> BTreeSet<AccountRef> {
        self.mains.clone()
    }

    /// The accounts, to look at.
    pub fn accounts(&self) -> &BTreeMap<AccountRef, Account> {
        &self.accounts
    }

    /// The accounts by their names.
    pub fn into_accounts(self) -> BTreeMap<AccountRef, Account> {
        self.accounts
    }
}
