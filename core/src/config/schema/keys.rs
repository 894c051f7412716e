//! The table of known keys, one a line.

use super::Kind::{Any, Bool, Headers, Integer, ListOf, MapOf, Object, OneOf, Port, Secret, Text, TextOrFalse, TextOrTexts};
use super::Reload::{Hot, Reconnect, Restart, Unread};
use super::agent_keys::{AGENTS, AUTH_PROFILES, MODELS};
use super::channel_keys::CHANNELS;
use super::{Key, Kind, Reload};
use crate::config::logging::{CONSOLE_STYLES, LOG_LEVELS, MAX_LOG_BYTES, MIN_LOG_BYTES};
use crate::secrets::{MAX_BYTES, MAX_TIMEOUT_MS};

pub(super) const fn key(name: &'static str, kind: Kind, reload: Reload, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        reload,
        doc,
    }
}

pub(super) const fn kept(name: &'static str) -> Key {
    key(name, Any, Unread, "Kept as it is; clawgate does not read it.")
}

pub(super) const TEXTS: Kind = ListOf(&Text);
/// The longest time that a setting may name: 30 days in milliseconds.
pub(super) const MAX_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// The values of `gateway.mode`.
pub const GATEWAY_MODES: &[&str] = &["local", "remote"];
/// The values of `gateway.bind`.
pub const BIND_MODES: &[&str] = &["loopback", "lan", "tailnet", "custom", "auto"];
/// The values of `gateway.auth.mode`.
pub const AUTH_MODES: &[&str] = &["none", "token", "password", "trusted-proxy"];
/// The values of `gateway.tailscale.mode`.
pub const TAILSCALE_MODES: &[&str] = &["off", "serve", "funnel"];
/// The values of `discovery.mdns.mode`.
pub const MDNS_MODES: &[&str] = &["off", "minimal", "full"];
/// The values of `gateway.reload.mode`.
pub const RELOAD_MODES: &[&str] = &["off", "restart", "hot", "hybrid"];
/// The values of `gateway.remote.tlsTrust`.
pub const TLS_TRUSTS: &[&str] = &["authorities", "first-use"];

/// The values of `node.exec.policy`.
pub const EXEC_POLICIES: &[&str] = &["deny", "allowlist", "ask"];

const RATE_LIMIT: &[Key] = &[
    key("maxAttempts", Integer(1, 1_000_000), Hot, "Wrong secrets allowed in the window (default 10)."),
    key("windowMs", Integer(1, MAX_MS), Hot, "Length of the window in milliseconds (default 60000)."),
    key("lockoutMs", Integer(1, MAX_MS), Hot, "Length of the lockout in milliseconds (default 300000)."),
    key("exemptLoopback", Bool, Hot, "Whether clients on this machine are never locked out (default true)."),
];

const TRUSTED_PROXY: &[Key] = &[
    key("userHeader", Text, Restart, "The header in which the proxy names the user."),
    key("requiredHeaders", TEXTS, Restart, "Headers that must be there and not blank."),
    key("allowUsers", TEXTS, Restart, "The users let in; empty means everyone whom the proxy let through."),
    key("allowLoopback", Bool, Restart, "Whether a proxy on this machine counts (default false)."),
];

const AUTH: &[Key] = &[
    key("mode", OneOf(AUTH_MODES), Restart, "How the gateway tells its clients from strangers."),
    key("token", Secret, Hot, "The token that clients must present."),
    key("password", Secret, Hot, "The password that clients must present."),
    key("allowTailscale", Bool, Restart, "Whether Tailscale identity headers on managed Serve suffice."),
    key("rateLimit", Object(RATE_LIMIT), Hot, "Limit on wrong secrets per client address."),
    key("trustedProxy", Object(TRUSTED_PROXY), Restart, "The identity-aware proxy in front of the gateway."),
];

const DISCOVERY: &[Key] = &[
    key("mdns", Object(&[
        key("mode", OneOf(MDNS_MODES), Restart, "What the gateway tells its network by mDNS: nothing, what a client needs, or more."),
    ]), Restart, "Multicast DNS."),
    kept("wideArea"),
];

const REMOTE: &[Key] = &[
    key("enabled", Bool, Unread, "Whether the remote gateway is used."),
    key("url", Text, Reconnect, "The gateway that clients on this machine use, as ws:// or wss://."),
    key("transport", OneOf(&["ssh", "direct"]), Reconnect, "How clients get there: direct (default) dials the URL; ssh opens a tunnel to sshTarget, whose end on this machine is the URL."),
    key("token", Secret, Reconnect, "The token that clients present to it."),
    key("password", Secret, Reconnect, "The password that clients present to it."),
    key("tlsFingerprint", TextOrTexts, Reconnect, "SHA-256 of its certificate, as 64 hexadecimal digits; or a list, while an old and a new one overlap."),
    key("tlsTrust", OneOf(TLS_TRUSTS), Reconnect, "What decides without a pin: authorities (default), or first-use, which pins what they accept."),
    key("edgeAuth", Headers, Reconnect, "Headers that a proxy in front of it asks for, by name; sent to its wss:// URL alone."),
    key("sshTarget", Text, Reconnect, "The SSH host of a tunnel, as user@host or user@host:port."),
    key("sshIdentity", Text, Reconnect, "The key file given to ssh."),
    key("sshHostKeyPolicy", OneOf(&["strict", "openssh"]), Reconnect, "What about an SSH host that is not known: strict (default) refuses it; openssh does what ssh_config says."),
    key("remotePort", Port, Reconnect, "The gateway's port on the SSH host (default: the port of the URL)."),
];

const CONTROL_UI: &[Key] = &[
    key("enabled", Bool, Hot, "Whether the web page is served (default true)."),
    key("basePath", Text, Unread, "Path in front of the web page."),
    key("root", Text, Unread, "Folder of the web page's files."),
    key("allowedOrigins", TEXTS, Hot, "Browser origins let in besides the gateway's own."),
    key("dangerouslyAllowHostHeaderOriginFallback", Bool, Hot, "Whether an origin equal to the Host header suffices."),
    key("allowInsecureAuth", Bool, Unread, "Whether the web page may sign in without a secure context."),
    key("dangerouslyDisableDeviceAuth", Bool, Unread, "Whether the web page may do without a device identity."),
    kept("environment"),
    kept("communityInvite"),
    kept("github"),
    kept("toolTitles"),
    kept("sessionObserver"),
    kept("embedSandbox"),
    kept("allowExternalEmbedUrls"),
    kept("automaticallyFetchFavicons"),
    kept("chatMessageMaxWidth"),
];

const TAILSCALE: &[Key] = &[
    key("mode", OneOf(TAILSCALE_MODES), Restart, "Publishes the gateway on the tailnet (serve) or the internet (funnel)."),
    key("resetOnExit", Bool, Restart, "Whether the publication ends with the gateway (default true)."),
    key("preserveFunnel", Bool, Unread, "Not needed: routes set up by hand always stay."),
    key("serviceName", Text, Restart, "Not supported: the gateway is published under the machine's own name."),
];

const TLS: &[Key] = &[
    key("enabled", Bool, Restart, "Whether the gateway speaks TLS itself."),
    key("autoGenerate", Bool, Restart, "Whether a certificate is made when both files are missing (default true)."),
    key("certPath", Text, Restart, "The certificate, as PEM."),
    key("keyPath", Text, Restart, "Its key, as PEM."),
    key("caPath", Text, Restart, "Certificates that are sent behind it, as PEM."),
];

const RELOAD: &[Key] = &[
    key("mode", OneOf(RELOAD_MODES), Hot, "What happens when this file changes (default hybrid)."),
    key("debounceMs", Integer(0, 60_000), Hot, "How long changes are gathered, in milliseconds (default 300)."),
    key("deferralTimeoutMs", Integer(0, MAX_MS), Unread, "How long a restart waits for running work, in milliseconds."),
];

const NODES_COMMANDS: &[Key] = &[
    key("allow", TEXTS, Hot, "Node commands allowed besides the defaults."),
    key("deny", TEXTS, Hot, "Node commands refused even if a node declares them."),
    key("strict", Bool, Hot, "Whether a command that no platform knows has to be in allow, too (default false)."),
];

const NODES_PAIRING: &[Key] = &[
    key("autoApproveLocal", Bool, Hot, "Whether devices on this machine are paired without asking (default true)."),
    key("autoApproveCidrs", TEXTS, Hot, "Networks from which new nodes are paired without asking."),
    key("sshVerify", Any, Unread, "Checking new nodes over SSH."),
];

const NODES: &[Key] = &[
    key("browser", Any, Unread, "Routing of browser commands."),
    key("pairing", Object(NODES_PAIRING), Hot, "Which devices are paired without asking."),
    key("commands", Object(NODES_COMMANDS), Hot, "Which node commands may be invoked."),
    key("allowCommands", TEXTS, Hot, "Node commands allowed besides the defaults."),
    key("denyCommands", TEXTS, Hot, "Node commands refused even if a node declares them."),
    key("pluginTools", Any, Unread, "Tools offered by nodes."),
    key("allowSkills", Any, Unread, "Skills that nodes may bring."),
];

const SECURITY_HEADERS: &[Key] = &[key(
    "strictTransportSecurity",
    TextOrFalse,
    Unread,
    "Value of the Strict-Transport-Security header.",
)];

const HTTP: &[Key] = &[
    key("endpoints", Any, Unread, "HTTP interfaces besides the WebSocket."),
    key("securityHeaders", Object(SECURITY_HEADERS), Unread, "Headers added to HTTP answers."),
];

const TOOLS: &[Key] = &[
    key("allow", TEXTS, Unread, "Tools allowed over HTTP."),
    key("deny", TEXTS, Unread, "Tools refused over HTTP."),
];

const NODE_COMMAND: &[Key] = &[
    key("program", Text, Reconnect, "The program: JSON on its standard input, JSON on its standard output."),
    key("args", TEXTS, Reconnect, "Its arguments."),
    key("description", Text, Reconnect, "What it does, for agents; without one it is no tool of theirs."),
    key("parameters", Any, Reconnect, "The JSON schema of its parameters."),
    key("timeoutMs", Integer(1, MAX_MS), Reconnect, "How long it may take, in milliseconds."),
];

const NODE_EXEC: &[Key] = &[
    key("policy", OneOf(EXEC_POLICIES), Reconnect, "What system.run may run: deny, allowlist, or ask about what is not on the allowlist (default)."),
];

const NODE: &[Key] = &[
    key("commands", MapOf(&Object(NODE_COMMAND)), Reconnect, "Local programs as node commands, by name."),
    key("exec", Object(NODE_EXEC), Reconnect, "Programs that a gateway asks for."),
];

const GATEWAY: &[Key] = &[
    key("mode", OneOf(GATEWAY_MODES), Restart, "Whether the gateway runs on this machine or clients use a remote one."),
    key("port", Port, Restart, "The port of the gateway (default 18789)."),
    key("bind", OneOf(BIND_MODES), Restart, "Which addresses the gateway listens on (default loopback)."),
    key("customBindHost", Text, Restart, "The IPv4 address for bind custom."),
    key("auth", Object(AUTH), Restart, "How clients prove who they are."),
    key("remote", Object(REMOTE), Reconnect, "The gateway elsewhere that clients on this machine use."),
    key("controlUi", Object(CONTROL_UI), Restart, "The web page."),
    key("tailscale", Object(TAILSCALE), Restart, "Publication through Tailscale."),
    key("tls", Object(TLS), Restart, "TLS on the gateway's own port."),
    key("trustedProxies", TEXTS, Restart, "Addresses or networks of reverse proxies that may name the client."),
    key("allowRealIpFallback", Bool, Restart, "Whether X-Real-IP counts when X-Forwarded-For gives nothing."),
    key("handshakeTimeoutMs", Integer(1, MAX_MS), Restart, "How long a client may take to connect, in milliseconds."),
    key("reload", Object(RELOAD), Hot, "What happens when this file changes."),
    key("nodes", Object(NODES), Hot, "Rules for nodes."),
    key("http", Object(HTTP), Unread, "HTTP beside the WebSocket."),
    key("tools", Object(TOOLS), Unread, "Tools over HTTP."),
    kept("push"),
    kept("channelHealthCheckMinutes"),
    kept("channelStaleEventThresholdMinutes"),
    kept("channelMaxRestartsPerHour"),
    kept("webchat"),
    kept("terminal"),
    kept("cliAgents"),
    kept("publicOrigin"),
];

const SECRET_DEFAULTS: &[Key] = &[
    key("env", Text, Hot, "Provider of env references that name none."),
    key("file", Text, Hot, "Provider of file references that name none."),
    key("exec", Text, Hot, "Provider of exec references that name none."),
    key("store", Text, Hot, "Provider of store references that name none."),
];

/// Fields of all provider sources in one table: a field of another source is harmless.
const SECRET_PROVIDER: &[Key] = &[
    key("source", Text, Hot, "Where the provider reads: env, file or exec; store is not implemented."),
    key("allowlist", TEXTS, Hot, "The only variables that env references may name."),
    key("path", Text, Hot, "The file, as an absolute path or below ~."),
    key("mode", Text, Hot, "Whether the file is one value (singleValue) or JSON (json)."),
    key("command", Text, Hot, "The program, as an absolute path."),
    key("args", TEXTS, Hot, "Its arguments."),
    key("timeoutMs", Integer(1, MAX_TIMEOUT_MS), Hot, "How long a read may take, in milliseconds."),
    key("noOutputTimeoutMs", Integer(1, MAX_TIMEOUT_MS), Hot, "How long the program may stay silent, in milliseconds."),
    key("maxBytes", Integer(1, MAX_BYTES), Hot, "The longest file that is read, in bytes."),
    key("maxOutputBytes", Integer(1, MAX_BYTES), Hot, "The longest output that is read, in bytes."),
    key("jsonOnly", Bool, Hot, "Whether the output must be JSON."),
    key("env", MapOf(&Text), Hot, "Variables set for the program."),
    key("passEnv", TEXTS, Hot, "Variables passed on to the program."),
    key("trustedDirs", TEXTS, Hot, "Folders that the program may lie in."),
    key("allowInsecurePath", Bool, Hot, "Whether owners and permissions of the path do not count (default false)."),
    key("pluginIntegration", Any, Hot, "A program that a plugin brings; not implemented."),
    key("allowSymlinkCommand", Bool, Hot, "Whether the program may be a symbolic link (default false)."),
];

const SECRETS: &[Key] = &[
    key("providers", MapOf(&Object(SECRET_PROVIDER)), Hot, "Where references to secrets are read."),
    key("defaults", Object(SECRET_DEFAULTS), Hot, "Providers of references that name none."),
    kept("resolution"),
    kept("egressProxy"),
];

const LOGGING: &[Key] = &[
    key("level", OneOf(LOG_LEVELS), Restart, "How much is written to the log file (default info)."),
    key("consoleLevel", OneOf(LOG_LEVELS), Restart, "How much is written to standard error (default info)."),
    key("consoleStyle", OneOf(CONSOLE_STYLES), Restart, "How lines on standard error look (default: pretty on a terminal, else json)."),
    key("maxFileBytes", Integer(MIN_LOG_BYTES, MAX_LOG_BYTES), Restart, "Size at which the log file is put aside (default 8388608); one older file is kept."),
    kept("file"),
    kept("redactPatterns"),
    kept("redactSensitive"),
];

/// The keys at the top of the file.
pub const ROOT: &[Key] = &[
    key("gateway", Object(GATEWAY), Restart, "The gateway and how clients get to it."),
    key("secrets", Object(SECRETS), Hot, "Where references to secrets are read."),
    key("agents", Object(AGENTS), Hot, "The agents."),
    key("auth", Object(AUTH_PROFILES), Hot, "Named credentials of model providers."),
    key("models", Object(MODELS), Hot, "Models and their providers."),
    key("channels", Object(CHANNELS), Hot, "Where people write to agents from outside."),
    key("node", Object(NODE), Reconnect, "This machine as a node (`clawgate node run`)."),
    key("logging", Object(LOGGING), Restart, "How much is written to the log, and how."),
    kept("$schema"),
    kept("$include"),
    kept("meta"),
    kept("env"),
    kept("wizard"),
    kept("diagnostics"),
    kept("cli"),
    kept("update"),
    kept("telemetry"),
    kept("browser"),
    kept("ui"),
    kept("tui"),
    kept("acp"),
    kept("nodeHost"),
    kept("tools"),
    kept("bindings"),
    kept("broadcast"),
    kept("audio"),
    kept("media"),
    kept("tts"),
    kept("messages"),
    kept("commands"),
    kept("approvals"),
    kept("attachments"),
    kept("accessGroups"),
    kept("session"),
    kept("surfaces"),
    kept("cron"),
    kept("hooks"),
    kept("web"),
    key("discovery", Object(DISCOVERY), Restart, "How the gateway is found on its network."),
    kept("canvasHost"),
    kept("talk"),
    kept("plugins"),
    kept("skills"),
    kept("memory"),
    kept("mcp"),
    kept("security"),
    kept("worktreeRoot"),
    kept("cloudWorkers"),
    kept("identity"),
    kept("routing"),
    kept("agent"),
];

/// Keys that people write in the wrong place, and the right place (spec hostpolicy §3).
pub(in crate::config) const MISPLACED: &[(&str, &str)] = &[
    ("gateway.token", "gateway.auth.token"),
    ("gateway.password", "gateway.auth.password"),
    ("gateway.url", "gateway.remote.url"),
    ("gateway.tlsFingerprint", "gateway.remote.tlsFingerprint"),
    ("gateway.allowedOrigins", "gateway.controlUi.allowedOrigins"),
    ("gateway.allowTailscale", "gateway.auth.allowTailscale"),
    ("gateway.rateLimit", "gateway.auth.rateLimit"),
    ("gateway.auth.trustedProxies", "gateway.trustedProxies"),
    ("gateway.host", "gateway.customBindHost"),
    ("port", "gateway.port"),
    ("bind", "gateway.bind"),
    ("token", "gateway.auth.token"),
    ("password", "gateway.auth.password"),
    ("remote", "gateway.remote"),
];
