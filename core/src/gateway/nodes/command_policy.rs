//! Which commands a node may be asked to run (spec protocol §8.2, §8.3).
//!
//! Three things must agree before a command is sent: the node claims it, an operator approved it, and
//! this policy admits it for the node's platform. The policy is a ceiling: it never grants anything by
//! itself.
//!
//! Two differences from the table of the spec, both on purpose:
//! - A command that no platform knows, such as `weather.get` of `clawgate node run --command`, counts
//!   as allowed once an operator has approved it: that approval names it, so a second list would only
//!   repeat it. `gateway.nodes.commands.strict: true` demands the list entry nevertheless.
//! - Linux nodes have `device.info` and `device.status`, which our own node offers there.

use std::collections::BTreeSet;

use crate::{
    config::NodesConfig,
    protocol::{ClientId, ClientInfo, ClientMode},
};

/// The kind of machine that a node runs on, as far as its two labels agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of the platforms")]
pub enum PlatformClass {
    Android,
    /// An iPad, or an iOS device that does not say which.
    Ios,
    /// Relays to a watch, too.
    Iphone,
    Linux,
    Macos,
    /// The labels contradict each other, or nobody knows them: the least is allowed.
    Unknown,
    Watchos,
    Windows,
}

impl PlatformClass {
    /// Every class.
    pub const ALL: [Self; 8] = [
        Self::Android,
        Self::Ios,
        Self::Iphone,
        Self::Linux,
        Self::Macos,
        Self::Unknown,
        Self::Watchos,
        Self::Windows,
    ];

    /// The class of two labels. They have to fit together: a platform alone proves nothing.
    ///
    /// ```
    /// use clawgate_core::gateway::PlatformClass;
    ///
    /// assert_eq!(PlatformClass::of("macOS 15.1", Some("Mac")), PlatformClass::Macos);
    /// assert_eq!(PlatformClass::of("linux", Some("Mac")), PlatformClass::Unknown);
    /// assert_eq!(PlatformClass::of("linux", None), PlatformClass::Unknown);
    /// ```
    pub fn of(platform: &str, family: Option<&str>) -> Self {
        let platform = platform.trim().to_ascii_lowercase();
        let family = family.unwrap_or_default().trim().to_ascii_lowercase();
        let (system, version) = match platform.split_once(' ') {
            Some((system, version)) => (system, Some(version)),
            None => (platform.as_str(), None),
        };
        let apple_phone = match family.as_str() {
            "iphone" => Self::Iphone,
            "ipad" | "ios" => Self::Ios,
            "" if version.is_none() => Self::Ios,
            _ => Self::Unknown,
        };
        let dotted = version.is_none_or(is_dotted);
        match (system, family.as_str()) {
            ("ios", _) if dotted => apple_phone,
            ("ipados", _) if dotted && version.is_some() => apple_phone,
            ("watchos", "apple watch" | "watchos") if dotted => Self::Watchos,
            ("macos", "mac") if dotted => Self::Macos,
            ("android", "android") if version.is_none_or(is_android_version) => Self::Android,
            ("android", "") if version.is_none() => Self::Android,
            ("windows", "windows") if version.is_none() => Self::Windows,
            ("linux", "linux") if version.is_none() => Self::Linux,
            (_, _) => Self::Unknown,
        }
    }

    /// The class of a client. Node hosts may leave their family out: it follows from the platform.
    pub fn of_client(client: &ClientInfo) -> Self {
        let family = client.device_family.as_deref();
        if client.id == ClientId::NodeHost && client.mode == ClientMode::Node {
            let (platform, implied) = match client.platform.as_str() {
                "darwin" | "macos" => ("macos", "Mac"),
                "linux" => ("linux", "Linux"),
                "win32" | "windows" => ("windows", "Windows"),
                other => return Self::of(other, family),
            };
            return Self::of(platform, family.or(Some(implied)));
        }
        Self::of(&client.platform, family)
    }

    const fn is_desktop(self) -> bool {
        matches!(self, Self::Linux | Self::Macos | Self::Windows)
    }

    /// What the platform can do without harm.
    const fn defaults(self) -> &'static [&'static str] {
        match self {
            Self::Android => &[
                "camera.list",
                "location.get",
                "notifications.list",
                "notifications.actions",
                "system.notify",
                "device.info",
                "device.status",
                "device.permissions",
                "device.health",
                "device.apps",
                "contacts.search",
                "calendar.events",
                "callLog.search",
                "reminders.list",
                "photos.latest",
                "motion.activity",
                "motion.pedometer",
                "mobile.ui.observe",
                "mobile.ui.act",
            ],
            Self::Ios | Self::Iphone => &[
                "camera.list",
                "location.get",
                "device.info",
                "device.status",
                "contacts.search",
                "calendar.events",
                "reminders.list",
                "photos.latest",
                "motion.activity",
                "motion.pedometer",
                "system.notify",
            ],
            Self::Linux => &[
                "system.notify",
                "computer.act",
                "device.info",
                "device.status",
            ],
            Self::Macos => &[
                "camera.list",
                "camera.ptz.status",
                "location.get",
                "device.info",
                "device.status",
                "device.apps",
                "contacts.search",
                "calendar.events",
                "reminders.list",
                "photos.latest",
                "motion.activity",
                "motion.pedometer",
                "system.notify",
                "computer.act",
            ],
            Self::Unknown => &["camera.list", "location.get", "system.notify"],
            Self::Watchos => &["device.info", "device.status", "system.notify"],
            Self::Windows => &[
                "camera.list",
                "location.get",
                "device.info",
                "device.status",
                "system.notify",
                "computer.act",
            ],
        }
    }

    /// Whether the command is one of those that nodes of this class have.
    fn has(self, command: &str) -> bool {
        self.defaults().contains(&command)
            || (self.is_desktop() && DESKTOP_HOST.contains(&command))
            || (self == Self::Iphone && WATCH_RELAY.contains(&command))
    }
}

/// One to three numbers with dots between them.
fn is_dotted(version: &str) -> bool {
    version.split('.').count() <= 3 && version.split('.').all(is_number)
}

/// `15`, or `15 (sdk 35)`.
fn is_android_version(version: &str) -> bool {
    match version.split_once(" (sdk ") {
        None => is_number(version),
        Some((release, sdk)) => is_number(release) && sdk.strip_suffix(')').is_some_and(is_number),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What reaches into a desktop as a whole. Usable only where it was approved, as everything is.
const DESKTOP_HOST: [&str; 13] = [
    "agent.cli.claude.run.v1",
    "browser.proxy",
    "browser.proxy.upload.v1",
    "desktop.stream",
    "fs.listDir",
    "mcp.tools.call.v1",
    "screen.snapshot",
    "system.execApprovals.get",
    "system.execApprovals.set",
    "system.run",
    "system.run.prepare",
    "system.which",
    "terminal.upload",
];

const WATCH_RELAY: [&str; 2] = ["watch.status", "watch.notify"];

const PUSH_TO_TALK: [&str; 4] = [
    "talk.ptt.cancel",
    "talk.ptt.once",
    "talk.ptt.start",
    "talk.ptt.stop",
];

/// What a node may claim and an operator approve, and what still runs only when
/// `gateway.nodes.commands.allow` names it. The commands of file transfer stand here because the
/// released node host leaves the choice of folders to the gateway, and this one makes none.
const DANGEROUS: [&str; 16] = [
    "calendar.add",
    "camera.clip",
    "camera.ptz.control",
    "camera.snap",
    "contacts.add",
    "dir.fetch",
    "dir.list",
    "file.create",
    "file.fetch",
    "file.stat",
    "file.write",
    "health.summary",
    "reminders.add",
    "screen.record",
    "sms.search",
    "sms.send",
];

/// What `node.invoke` asks `operator.admin` for (spec protocol §4).
const ADMIN_ONLY: [&str; 4] = [
    "browser.proxy",
    "browser.proxy.upload.v1",
    "fs.listDir",
    "terminal.upload",
];

/// Bytes of a command's name.
const MAX_COMMAND: usize = 128;

/// Whether `node.invoke` of this command takes `operator.admin`, and no agent gets it.
pub(crate) fn is_admin_only(command: &str) -> bool {
    ADMIN_ONLY.contains(&command)
}

/// Whether approving this command takes `operator.admin` (spec protocol §8.1).
pub(crate) fn approval_is_admin_only(command: &str) -> bool {
    is_admin_only(command)
        || matches!(
            command,
            "system.run" | "system.run.prepare" | "system.which"
        )
        || is_exec_approvals(command)
}

fn is_exec_approvals(command: &str) -> bool {
    command.starts_with("system.execApprovals.")
}

/// Belongs to gateways that run workers on nodes. No node of this gateway gets one.
fn is_worker(command: &str) -> bool {
    command.starts_with("worker.")
}

fn is_known(command: &str) -> bool {
    DESKTOP_HOST.contains(&command)
        || DANGEROUS.contains(&command)
        || WATCH_RELAY.contains(&command)
        || command.starts_with("talk.")
        || command.starts_with("system.")
        || PlatformClass::ALL
            .iter()
            .any(|class| class.defaults().contains(&command))
}

/// Whether a node takes part in talk: it says so by a capability or a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// It does.
    Capable,
    /// It does not.
    Silent,
}

impl Talk {
    /// What the claims of a node say.
    pub fn of<'a>(
        caps: impl IntoIterator<Item = &'a String>,
        commands: impl IntoIterator<Item = &'a String>,
    ) -> Self {
        let by_cap = caps.into_iter().any(|cap| cap.eq_ignore_ascii_case("talk"));
        if by_cap || commands.into_iter().any(|name| name.starts_with("talk.")) {
            Self::Capable
        } else {
            Self::Silent
        }
    }
}

/// What the policy looks at in a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeProfile {
    /// Its platform.
    pub class: PlatformClass,
    /// Whether it takes part in talk.
    pub talk: Talk,
}

impl NodeProfile {
    /// A node of which nothing is known.
    pub const UNKNOWN: Self = Self {
        class: PlatformClass::Unknown,
        talk: Talk::Silent,
    };
}

/// Who wants to have a command run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// An agent, or a caller of `node.invoke`.
    Callers,
    /// The gateway itself, for a method of its own such as `exec.approvals.node.get`.
    Gateway,
}

/// What counts for commands that no platform knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CustomCommands {
    /// An approval is enough.
    #[default]
    WhenApproved,
    /// `gateway.nodes.commands.allow` has to name them, too (`gateway.nodes.commands.strict`).
    WhenListed,
}

/// Why a command is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandRefusal {
    /// `gateway.nodes.commands.deny` names it.
    Denied,
    /// It takes an entry in `gateway.nodes.commands.allow`.
    Dangerous,
    /// Nodes of this platform do not have it.
    OtherPlatform,
    /// Only the gateway itself may use it.
    Private,
    /// It takes a node that takes part in talk.
    Talk,
    /// No platform knows it, and `gateway.nodes.commands.allow` does not name it.
    Unlisted,
}

/// The configured part of the policy: `gateway.nodes.commands`.
///
/// ```
/// use clawgate_core::gateway::{
///     CommandRefusal, CustomCommands, NodeCommandPolicy, NodeProfile, PlatformClass, Reach, Talk,
/// };
///
/// let policy = NodeCommandPolicy::new(&["camera.snap"], &["system.run"], CustomCommands::default());
/// let node = NodeProfile { class: PlatformClass::Linux, talk: Talk::Silent };
/// let admit = |command| policy.admit(node, Reach::Callers, command);
/// assert_eq!(admit("system.which"), Ok(()));
/// assert_eq!(admit("camera.snap"), Ok(()));
/// assert_eq!(admit("camera.clip"), Err(CommandRefusal::Dangerous));
/// assert_eq!(admit("system.run"), Err(CommandRefusal::Denied));
/// assert_eq!(admit("location.get"), Err(CommandRefusal::OtherPlatform));
/// assert_eq!(admit("weather.get"), Ok(()));
/// ```
#[derive(Clone, Debug, Default)]
pub struct NodeCommandPolicy {
    allow: BTreeSet<String>,
    deny: BTreeSet<String>,
    custom: CustomCommands,
}

impl NodeCommandPolicy {
    /// A policy of these lists. `deny` wins.
    pub fn new<S: AsRef<str>>(allow: &[S], deny: &[S], custom: CustomCommands) -> Self {
        let names = |list: &[S]| {
            let names = list.iter().map(|name| name.as_ref().trim().to_owned());
            names.filter(|name| !name.is_empty()).collect()
        };
        Self {
            allow: names(allow),
            deny: names(deny),
            custom,
        }
    }

    /// What a configuration asks for.
    pub fn of_config(nodes: &NodesConfig) -> Self {
        let custom = if nodes.strict_commands {
            CustomCommands::WhenListed
        } else {
            CustomCommands::WhenApproved
        };
        Self::new(&nodes.allow_commands, &nodes.deny_commands, custom)
    }

    /// Whether a node may claim a command, so that an operator can approve it.
    pub fn declarable(&self, profile: NodeProfile, command: &str) -> bool {
        let odd = |c: char| c.is_control() || c.is_whitespace();
        if command.is_empty() || command.len() > MAX_COMMAND || command.chars().any(odd) {
            return false;
        }
        match self.admit(profile, Reach::Gateway, command) {
            Ok(()) | Err(CommandRefusal::Dangerous) => true,
            Err(CommandRefusal::Denied) => DANGEROUS.contains(&command),
            Err(
                CommandRefusal::OtherPlatform
                | CommandRefusal::Private
                | CommandRefusal::Talk
                | CommandRefusal::Unlisted,
            ) => false,
        }
    }

    /// Whether a command that a node claims, and that was approved, may be sent to it.
    ///
    /// # Errors
    /// When it may not, with the reason.
    pub fn admit(
        &self,
        profile: NodeProfile,
        reach: Reach,
        command: &str,
    ) -> Result<(), CommandRefusal> {
        let gateways_own = is_exec_approvals(command) || command == "agent.cli.claude.run.v1";
        if is_worker(command) || (reach == Reach::Callers && gateways_own) {
            return Err(CommandRefusal::Private);
        }
        if self.deny.contains(command) {
            return Err(CommandRefusal::Denied);
        }
        if self.allow.contains(command) {
            return Ok(());
        }
        if DANGEROUS.contains(&command) {
            return Err(CommandRefusal::Dangerous);
        }
        if profile.class.has(command) {
            return Ok(());
        }
        if command.starts_with("talk.") {
            return match profile.talk {
                Talk::Capable if PUSH_TO_TALK.contains(&command) => Ok(()),
                Talk::Capable | Talk::Silent => Err(CommandRefusal::Talk),
            };
        }
        if is_known(command) {
            return Err(CommandRefusal::OtherPlatform);
        }
        match self.custom {
            CustomCommands::WhenApproved => Ok(()),
            CustomCommands::WhenListed => Err(CommandRefusal::Unlisted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(class: PlatformClass) -> NodeProfile {
        NodeProfile {
            class,
            talk: Talk::Silent,
        }
    }

    fn admits(policy: &NodeCommandPolicy, class: PlatformClass, command: &str) -> bool {
        policy
            .admit(profile(class), Reach::Callers, command)
            .is_ok()
    }

    #[test]
    fn labels_must_fit_together() {
        use PlatformClass::{Android, Ios, Iphone, Linux, Macos, Unknown, Watchos, Windows};
        for (platform, family, class) in [
            ("linux", Some("Linux"), Linux),
            (" Linux ", Some(" linux "), Linux),
            ("linux", None, Unknown),
            ("linux", Some("Mac"), Unknown),
            ("macos", Some("Mac"), Macos),
            ("macOS 15.1", Some("Mac"), Macos),
            ("macOS 15.1.2.3", Some("Mac"), Unknown),
            ("macOS fifteen", Some("Mac"), Unknown),
            ("windows", Some("Windows"), Windows),
            ("windows 11", Some("Windows"), Unknown),
            ("ios", None, Ios),
            ("ios", Some("iPad"), Ios),
            ("iOS 18.4.0", Some("iPhone"), Iphone),
            ("iPadOS 18", Some("iPad"), Ios),
            ("ipados", Some("iPad"), Unknown),
            ("iOS 18.4.0", None, Unknown),
            ("ios", Some("Android"), Unknown),
            ("android", None, Android),
            ("Android 15 (SDK 35)", Some("Android"), Android),
            ("Android 15", Some("Android"), Android),
            ("Android 15 (SDK x)", Some("Android"), Unknown),
            ("Android 15", None, Unknown),
            ("watchos", Some("Apple Watch"), Watchos),
            ("watchos", None, Unknown),
            ("plan9", Some("Linux"), Unknown),
            ("", None, Unknown),
        ] {
            assert_eq!(
                PlatformClass::of(platform, family),
                class,
                "{platform} {family:?}"
            );
        }
    }

    #[test]
    fn a_node_host_may_leave_its_family_out_and_nobody_else() {
        let mut client = ClientInfo::new(ClientId::NodeHost, ClientMode::Node, "1", "linux");
        assert_eq!(PlatformClass::of_client(&client), PlatformClass::Linux);
        client.platform = "darwin".into();
        assert_eq!(PlatformClass::of_client(&client), PlatformClass::Macos);
        client.device_family = Some("Linux".into());
        assert_eq!(PlatformClass::of_client(&client), PlatformClass::Unknown);
        let other = ClientInfo::new(ClientId::Cli, ClientMode::Node, "1", "linux");
        assert_eq!(PlatformClass::of_client(&other), PlatformClass::Unknown);
    }

    #[test]
    fn each_platform_has_what_the_table_says() {
        let policy = NodeCommandPolicy::default();
        for (command, classes) in [
            ("camera.list", "android ios iphone macos unknown windows"),
            ("camera.ptz.status", "macos"),
            ("location.get", "android ios iphone macos unknown windows"),
            ("notifications.list", "android"),
            ("mobile.ui.act", "android"),
            ("callLog.search", "android"),
            ("device.apps", "android macos"),
            (
                "device.info",
                "android ios iphone linux macos watchos windows",
            ),
            ("contacts.search", "android ios iphone macos"),
            ("motion.pedometer", "android ios iphone macos"),
            ("watch.notify", "iphone"),
            ("computer.act", "linux macos windows"),
            (
                "system.notify",
                "android ios iphone linux macos unknown watchos windows",
            ),
            ("system.run", "linux macos windows"),
            ("desktop.stream", "linux macos windows"),
            ("screen.snapshot", "linux macos windows"),
            ("camera.snap", ""),
            ("sms.send", ""),
            ("file.write", ""),
            ("system.execApprovals.get", ""),
            ("worker.launch.v1", ""),
            ("talk.ptt.start", ""),
            ("system.reboot", ""),
        ] {
            for class in PlatformClass::ALL {
                let name = format!("{class:?}").to_lowercase();
                let listed = classes.split(' ').any(|class| class == name);
                assert_eq!(admits(&policy, class, command), listed, "{command} {name}");
            }
        }
    }

    #[test]
    fn deny_wins_and_allow_opens_what_is_dangerous_or_foreign() {
        let policy = NodeCommandPolicy::new(
            &["camera.snap", " sms.send ", "location.get", "weather.get"],
            &["sms.send", "system.run", "weather.get"],
            CustomCommands::WhenApproved,
        );
        let linux = PlatformClass::Linux;
        assert!(admits(&policy, linux, "camera.snap"));
        assert!(admits(&policy, linux, "location.get"));
        for denied in ["sms.send", "system.run", "weather.get"] {
            let verdict = policy.admit(profile(linux), Reach::Callers, denied);
            assert_eq!(verdict, Err(CommandRefusal::Denied), "{denied}");
        }
    }

    #[test]
    fn commands_of_no_platform_take_an_approval_and_when_strict_a_list_entry() {
        let linux = PlatformClass::Linux;
        let free = NodeCommandPolicy::default();
        assert!(admits(&free, linux, "weather.get"));
        assert!(free.declarable(profile(linux), "weather.get"));
        let none: [&str; 0] = [];
        let strict = NodeCommandPolicy::new(&none, &none, CustomCommands::WhenListed);
        assert!(!admits(&strict, linux, "weather.get"));
        assert!(!strict.declarable(profile(linux), "weather.get"));
        let listed = NodeCommandPolicy::new(&["weather.get"], &none, CustomCommands::WhenListed);
        assert!(admits(&listed, linux, "weather.get"));
    }

    #[test]
    fn private_commands_stay_private_whatever_the_lists_say() {
        let names = ["worker.launch.v1", "system.execApprovals.set"];
        let none: [&str; 0] = [];
        let policy = NodeCommandPolicy::new(&names, &none, CustomCommands::WhenApproved);
        let linux = profile(PlatformClass::Linux);
        for name in names {
            let verdict = policy.admit(linux, Reach::Callers, name);
            assert_eq!(verdict, Err(CommandRefusal::Private), "{name}");
        }
        let own = |name: &str| policy.admit(linux, Reach::Gateway, name);
        assert_eq!(own("system.execApprovals.set"), Ok(()));
        assert_eq!(own("worker.launch.v1"), Err(CommandRefusal::Private));
        assert!(!policy.declarable(linux, "worker.launch.v1"));
        assert!(policy.declarable(linux, "system.execApprovals.set"));
    }

    #[test]
    fn what_may_be_claimed_is_more_than_what_may_run() {
        let none: [&str; 0] = [];
        let policy = NodeCommandPolicy::new(&none, &["sms.send", "system.run"], Default::default());
        let linux = profile(PlatformClass::Linux);
        assert!(policy.declarable(linux, "camera.snap"));
        assert!(policy.declarable(linux, "sms.send"), "dangerous and denied");
        assert!(!policy.declarable(linux, "system.run"), "denied");
        assert!(!policy.declarable(linux, "location.get"), "of others");
        for odd in ["", "a b", "a\nb", &"x".repeat(129)] {
            assert!(!policy.declarable(linux, odd), "{odd:?}");
        }
    }

    #[test]
    fn talk_takes_a_node_that_talks() {
        let policy = NodeCommandPolicy::default();
        let caps = ["Talk".to_owned()];
        let talking = NodeProfile {
            class: PlatformClass::Android,
            talk: Talk::of(&caps, &[]),
        };
        let admit = |node, name: &str| policy.admit(node, Reach::Callers, name);
        assert_eq!(admit(talking, "talk.ptt.once"), Ok(()));
        assert_eq!(admit(talking, "talk.other"), Err(CommandRefusal::Talk));
        let silent = profile(PlatformClass::Android);
        assert_eq!(admit(silent, "talk.ptt.once"), Err(CommandRefusal::Talk));
    }
}
