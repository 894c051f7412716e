//! The keys of `channels.webhook`, which are our own.

use super::Key;
use super::Kind::{Bool, ListOf, MapOf, Object, OneOf, Secret, Text, TextOrNumber};
use super::Reload::Restart;
use super::channel_keys::{DM_POLICIES, GROUP_POLICIES};
use super::keys::key;

const IDS: super::Kind = ListOf(&TextOrNumber);

/// What both a group and a topic in it may say.
macro_rules! group {
    ($($more:expr),* $(,)?) => {
        &[
            key("enabled", Bool, Restart, "Whether its messages count (default true)."),
            key("requireMention", Bool, Restart, "Whether only messages count that the bridge marks as addressed (default true)."),
            key("groupPolicy", OneOf(GROUP_POLICIES), Restart, "Whose messages count: those of listed people, everybody's, or nobody's."),
            key("allowFrom", IDS, Restart, "Ids of the people whose messages count."),
            $($more),*
        ]
    };
}

const TOPIC: &[Key] = group![];

const GROUP: &[Key] = group![
    key("topics", MapOf(&Object(TOPIC)), Restart, "Rules of threads, by their id; * is for all others."),
];

/// What both `channels.webhook` and an account may say.
macro_rules! webhook {
    ($($more:expr),* $(,)?) => {
        &[
            key("enabled", Bool, Restart, "Whether it runs (default true)."),
            key("name", Text, Restart, "Its name for people."),
            key("secret", Secret, Restart, "What both sides sign with, at least 16 bytes."),
            key("url", Text, Restart, "Where replies go; without it, none can be sent."),
            key("typing", Bool, Restart, "Whether the bridge is told that the agent works (default false)."),
            key("dmPolicy", OneOf(DM_POLICIES), Restart, "Who may write alone: open (default, unless people are listed), allowlist, pairing or disabled."),
            key("allowFrom", IDS, Restart, "Ids of people who may write, as the bridge names them; * is everybody."),
            key("groupPolicy", OneOf(GROUP_POLICIES), Restart, "Whose messages count in groups: open (default, unless people are listed), allowlist or disabled."),
            key("groupAllowFrom", IDS, Restart, "Ids of people who may write in groups; without it, allowFrom counts."),
            key("groups", MapOf(&Object(GROUP)), Restart, "Rules of groups, by the chat's id; * is for all others."),
            $($more),*
        ]
    };
}

const ACCOUNT: &[Key] = webhook![];

pub(super) const WEBHOOK: &[Key] = webhook![
    key("accounts", MapOf(&Object(ACCOUNT)), Restart, "Several bridges, by name; what one does not say itself, the channel says, except secret and url."),
];
