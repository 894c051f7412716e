//! The keys of `channels.webhook`, which are our own.

use super::Key;
use super::Kind::{Bool, ListOf, MapOf, Object, OneOf, Secret, Text, TextOrNumber};
use super::Reload::Hot;
use super::channel_keys::{DM_POLICIES, GROUP_POLICIES};
use super::keys::key;

const IDS: super::Kind = ListOf(&TextOrNumber);

/// What both a group and a topic in it may say.
macro_rules! group {
    ($($more:expr),* $(,)?) => {
        &[
            key("enabled", Bool, Hot, "Whether its messages count (default true)."),
            key("requireMention", Bool, Hot, "Whether only messages count that the bridge marks as addressed (default true)."),
            key("groupPolicy", OneOf(GROUP_POLICIES), Hot, "Whose messages count: those of listed people, everybody's, or nobody's."),
            key("allowFrom", IDS, Hot, "Ids of the people whose messages count."),
            $($more),*
        ]
    };
}

const TOPIC: &[Key] = group![];

const GROUP: &[Key] = group![
    key("topics", MapOf(&Object(TOPIC)), Hot, "Rules of threads, by their id; * is for all others."),
];

/// What both `channels.webhook` and an account may say.
macro_rules! webhook {
    ($($more:expr),* $(,)?) => {
        &[
            key("enabled", Bool, Hot, "Whether it runs (default true)."),
            key("name", Text, Hot, "Its name for people."),
            key("secret", Secret, Hot, "What both sides sign with, at least 16 bytes."),
            key("url", Text, Hot, "Where replies go; without it, none can be sent."),
            key("typing", Bool, Hot, "Whether the bridge is told that the agent works (default false)."),
            key("dmPolicy", OneOf(DM_POLICIES), Hot, "Who may write alone: open (default, unless people are listed), allowlist, pairing or disabled."),
            key("allowFrom", IDS, Hot, "Ids of people who may write, as the bridge names them; * is everybody."),
            key("groupPolicy", OneOf(GROUP_POLICIES), Hot, "Whose messages count in groups: open (default, unless people are listed), allowlist or disabled."),
            key("groupAllowFrom", IDS, Hot, "Ids of people who may write in groups; without it, allowFrom counts."),
            key("groups", MapOf(&Object(GROUP)), Hot, "Rules of groups, by the chat's id; * is for all others."),
            $($more),*
        ]
    };
}

const ACCOUNT: &[Key] = webhook![];

pub(super) const WEBHOOK: &[Key] = webhook![
    key("accounts", MapOf(&Object(ACCOUNT)), Hot, "Several bridges, by name; what one does not say itself, the channel says, except secret and url."),
];
