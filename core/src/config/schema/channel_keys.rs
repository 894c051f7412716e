//! The keys of channels. The names are OpenClaw's where it has them.

use super::keys::{kept, key};
use super::Key;
use super::Kind::{Bool, Integer, ListOf, MapOf, Object, OneOf, Secret, Text, TextOrNumber};
use super::Reload::Hot;

/// The values of `channels.telegram.dmPolicy`.
pub const DM_POLICIES: &[&str] = &["pairing", "allowlist", "open", "disabled"];
/// The values of `channels.telegram.groupPolicy`.
pub const GROUP_POLICIES: &[&str] = &["allowlist", "open", "disabled"];
/// The values of `channels.telegram.replyToMode`.
pub const REPLY_TO_MODES: &[&str] = &["off", "first", "all", "batched"];

/// The longest file, in megabytes, that anybody may ask for.
const MAX_MEGABYTES: u64 = 2_000;

const IDS: super::Kind = ListOf(&TextOrNumber);

/// What both a group and a topic in it may say.
macro_rules! group {
    ($($more:expr),* $(,)?) => {
        &[
            key("enabled", Bool, Hot, "Whether its messages count (default true)."),
            key("requireMention", Bool, Hot, "Whether the bot must be called by its name (default true)."),
            key("groupPolicy", OneOf(GROUP_POLICIES), Hot, "Whose messages count: those of listed people, everybody's, or nobody's."),
            key("allowFrom", IDS, Hot, "Ids of the people whose messages count."),
            kept("systemPrompt"), kept("skills"), kept("agentId"), kept("errorPolicy"),
            kept("ingest"), kept("historyLimit"), kept("disableAudioPreflight"),
            kept("joinIntro"), kept("responsePrefix"),
            $($more),*
        ]
    };
}

const TOPIC: &[Key] = group![];

const GROUP: &[Key] = group![
    key("topics", MapOf(&Object(TOPIC)), Hot, "Rules of topics, by their id; * is for all others."),
    kept("tools"), kept("toolsBySender"),
];

/// What both `channels.telegram` and an account may say.
macro_rules! telegram {
    ($($more:expr),* $(,)?) => {
        &[
            key("enabled", Bool, Hot, "Whether it runs (default true)."),
            key("name", Text, Hot, "Its name for people."),
            key("botToken", Secret, Hot, "The bot's token from @BotFather; the account default also takes TELEGRAM_BOT_TOKEN."),
            key("tokenFile", Text, Hot, "Not implemented: make botToken a reference to a file provider."),
            key("dmPolicy", OneOf(DM_POLICIES), Hot, "Who may write to the bot alone: pairing (default), allowlist, open or disabled."),
            key("allowFrom", IDS, Hot, "Numeric ids of people who may write; * is everybody."),
            key("groupPolicy", OneOf(GROUP_POLICIES), Hot, "Whose messages count in groups: allowlist (default), open or disabled."),
            key("groupAllowFrom", IDS, Hot, "Numeric ids of people who may write in groups; without it, allowFrom counts."),
            key("groups", MapOf(&Object(GROUP)), Hot, "Rules of groups, by the chat's id; * is for all others."),
            key("apiRoot", Text, Hot, "The Bot API's root (default https://api.telegram.org), without the token."),
            key("replyToMode", OneOf(REPLY_TO_MODES), Hot, "Whether replies show what they answer: off (default), first or all."),
            key("mediaMaxMb", Integer(1, MAX_MEGABYTES), Hot, "The largest file that is fetched, in megabytes (default 20)."),
            kept("direct"), kept("customCommands"), kept("historyLimit"), kept("dmHistoryLimit"),
            kept("dms"), kept("linkPreview"), kept("streaming"), kept("streamMode"),
            kept("actions"), kept("reactionNotifications"), kept("reactionLevel"),
            kept("network"), kept("trustedLocalFileRoots"), kept("proxy"), kept("webhookUrl"),
            kept("webhookSecret"), kept("webhookPath"), kept("webhookHost"), kept("webhookPort"),
            kept("webhookCertPath"), kept("capabilities"), kept("errorPolicy"),
            kept("silentErrorReplies"), kept("configWrites"), kept("execApprovals"),
            kept("commands"), kept("threadBindings"), kept("textChunkLimit"), kept("chunkMode"),
            kept("richMessages"), kept("markdown"), kept("responsePrefix"), kept("joinIntro"),
            kept("ackReaction"), kept("contextVisibility"), kept("heartbeatVisibility"),
            kept("implicitMentions"), kept("healthMonitor"), kept("defaultTo"),
            kept("mediaGroupFlushMs"), kept("timeoutSeconds"), kept("retry"),
            $($more),*
        ]
    };
}

const TELEGRAM_ACCOUNT: &[Key] = telegram![];

const TELEGRAM: &[Key] = telegram![
    key("accounts", MapOf(&Object(TELEGRAM_ACCOUNT)), Hot, "Several bots, by name; what one does not say itself, the channel says."),
    key("defaultAccount", Text, Hot, "The account that is meant where none is named (default: default)."),
];

const DEFAULTS: &[Key] = &[
    key("groupPolicy", OneOf(GROUP_POLICIES), Hot, "The groupPolicy of channels that have none."),
    kept("contextVisibility"),
    kept("implicitMentions"),
    kept("heartbeatVisibility"),
];

pub(super) const CHANNELS: &[Key] = &[
    key("telegram", Object(TELEGRAM), Hot, "Telegram, by a bot."),
    key("webhook", Object(super::webhook_keys::WEBHOOK), Hot, "Bridges that people write themselves, by signed JSON."),
    key("defaults", Object(DEFAULTS), Hot, "What holds for all channels."),
    kept("modelByChannel"),
    kept("discord"), kept("slack"), kept("whatsapp"), kept("signal"), kept("imessage"),
    kept("line"), kept("googlechat"), kept("mattermost"), kept("msteams"), kept("matrix"),
    kept("irc"), kept("feishu"), kept("nextcloud-talk"), kept("nostr"), kept("qqbot"),
    kept("synology-chat"), kept("tlon"), kept("twitch"), kept("zalo"), kept("zalouser"),
];
