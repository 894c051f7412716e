//! Who may write to the agent through a channel. What is not allowed is refused: a channel that says
//! nothing about it pairs people first, and is deaf in groups.

use std::collections::{BTreeMap, BTreeSet};

use super::{ChatKind, Incoming, Sender};

/// What is decided about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is for the agent.
    Allowed,
    /// Its sender is told a code that the owner can approve.
    Pair,
    /// It is not for the agent: nobody called it. That is usual in groups.
    NotAddressed,
    /// Its sender may not write here. Nobody is answered.
    Denied,
}

/// `dmPolicy`: who may write in a chat of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DmPolicy {
    /// Those who are listed, and those whose code was approved.
    #[default]
    Pairing,
    /// Those who are listed.
    Allowlist,
    /// Everybody.
    Open,
    /// Nobody.
    Disabled,
}

impl DmPolicy {
    /// The name in the config.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pairing => "pairing",
            Self::Allowlist => "allowlist",
            Self::Open => "open",
            Self::Disabled => "disabled",
        }
    }
}

/// `groupPolicy`: whose messages count in groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupPolicy {
    /// Those of listed senders, in listed groups.
    #[default]
    Allowlist,
    /// Everybody's, in every group.
    Open,
    /// Nobody's.
    Disabled,
}

/// What the config says about a group, or about a topic in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRule {
    /// `enabled`.
    pub enabled: Option<bool>,
    /// `requireMention`; without it, a mention is needed.
    pub require_mention: Option<bool>,
    /// `groupPolicy`.
    pub policy: Option<GroupPolicy>,
    /// `allowFrom`.
    pub allow_from: Option<BTreeSet<String>>,
    /// `topics`, by their id, or `*`.
    pub topics: BTreeMap<String, Self>,
}

/// Who may write to an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessPolicy {
    /// `dmPolicy`.
    pub dm: DmPolicy,
    /// `allowFrom`: ids, or `*`.
    pub allow_from: BTreeSet<String>,
    /// `groupPolicy`.
    pub group: GroupPolicy,
    /// `groupAllowFrom`; without it, `allowFrom` counts, in groups that are named.
    pub group_allow_from: Option<BTreeSet<String>>,
    /// `groups`, by the chat's id, or `*`.
    pub groups: BTreeMap<String, GroupRule>,
}

/// Who was paired with an account.
pub trait Paired {
    /// Whether this sender was.
    fn is_paired(&self, sender: &Sender) -> bool;
}

impl<F: Fn(&Sender) -> bool> Paired for F {
    fn is_paired(&self, sender: &Sender) -> bool {
        self(sender)
    }
}

impl AccessPolicy {
    /// Decides on a message. Only ids count: anybody can take a name that looks like another's.
    ///
    /// People who were paired may write in chats of their own. That gives them nothing in groups.
    pub fn decide(&self, message: &Incoming, paired: &impl Paired) -> Access {
        match message.kind {
            ChatKind::Direct => self.decide_direct(&message.sender, paired),
            ChatKind::Group => self.decide_group(message),
        }
    }

    /// Whether the config names a sender.
    pub fn lists(&self, sender: &Sender) -> bool {
        lists(&self.allow_from, sender)
    }

    fn decide_direct(&self, sender: &Sender, paired: &impl Paired) -> Access {
        match self.dm {
            DmPolicy::Disabled => Access::Denied,
            DmPolicy::Open => Access::Allowed,
            DmPolicy::Allowlist | DmPolicy::Pairing if self.lists(sender) => Access::Allowed,
            DmPolicy::Pairing if paired.is_paired(sender) => Access::Allowed,
            DmPolicy::Pairing => Access::Pair,
            DmPolicy::Allowlist => Access::Denied,
        }
    }

    fn decide_group(&self, message: &Incoming) -> Access {
        let any = self.groups.get("*");
        let own = self.groups.get(&message.place.chat);
        let topics = |rule: &GroupRule| {
            let thread = message.place.thread.as_deref()?;
            let topic = rule.topics.get(thread).or_else(|| rule.topics.get("*"))?;
            Some(topic.clone())
        };
        let topic = own.and_then(topics).or_else(|| any.and_then(topics));
        // The nearest rule that says something counts.
        let rules = || topic.iter().chain(own).chain(any);
        let policy = rules().find_map(|rule| rule.policy).unwrap_or(self.group);
        let listed = own.is_some() || any.is_some();
        let enabled = rules().find_map(|rule| rule.enabled).unwrap_or(true);
        let allow_from = rules()
            .find_map(|rule| rule.allow_from.as_ref())
            .or(self.group_allow_from.as_ref())
            .unwrap_or(&self.allow_from);
        // As soon as groups are named, the others are meant to be left out.
        if !enabled || (!self.groups.is_empty() && !listed) {
            return Access::Denied;
        }
        match policy {
            GroupPolicy::Disabled => return Access::Denied,
            // People who are listed for chats of their own are heard where a group is named.
            GroupPolicy::Allowlist if !listed && self.group_allow_from.is_none() => {
                return Access::Denied;
            }
            GroupPolicy::Allowlist if !lists(allow_from, &message.sender) => {
                return Access::Denied;
            }
            GroupPolicy::Allowlist | GroupPolicy::Open => {}
        }
        let require_mention = rules()
            .find_map(|rule| rule.require_mention)
            .unwrap_or(true);
        if require_mention && !message.addressed {
            return Access::NotAddressed;
        }
        Access::Allowed
    }
}

fn lists(list: &BTreeSet<String>, sender: &Sender) -> bool {
    list.contains("*") || list.contains(&sender.id)
}
