//! Examples for `--help`.

pub(crate) const EXAMPLES: &str = "\
Examples:
  clawgate gateway run
  clawgate demo
  clawgate health
  clawgate chat
  clawgate gateway call system-presence --json
  clawgate gateway probe --url wss://gw.example.com --token-file token.txt
  clawgate auth explain";

/// The long form: the same examples, then sources, files and exit codes.
pub(crate) fn top_long() -> String {
    format!("{EXAMPLES}\n\n{SOURCES}\n\n{}", crate::exit::TABLE)
}

const SOURCES: &str = "\
Which gateway: --url, --port, OPENCLAW_GATEWAY_URL, gateway.remote.url (in remote mode), this machine.
Which credentials: the flags; then environment and config, in the order that `clawgate auth explain`
shows. A --url gets what the flags give it and nothing else.

Secrets in arguments can be seen by other users of this machine: prefer --token-file and
--password-file, or the environment.";

pub(crate) const HEALTH: &str = "\
Examples:
  clawgate health
  clawgate health --json --timeout 2000
  clawgate health --url ws://192.168.1.20:18789 --token-file token.txt";

pub(crate) const STATUS: &str = "\
Examples:
  clawgate status
  clawgate status --deep
  clawgate status --all --json";

pub(crate) const COMPLETION: &str = "\
Examples:
  clawgate completion bash > ~/.local/share/bash-completion/completions/clawgate
  clawgate completion fish > ~/.config/fish/completions/clawgate.fish";

pub(crate) const SECURITY_AUDIT: &str = "\
Nothing is sent, and no secret is shown. Each finding has a stable id, what is wrong, and what to
change. The exit code is 1 when there are findings of --level or graver ones, and 0 otherwise.

Examples:
  clawgate security audit
  clawgate security audit --fix
  clawgate security audit --level critical --json";

pub(crate) const BACKUP: &str = "\
The copy holds what the gateway keeps in its database: devices, tokens as hashes, the audit log. It
holds no config, no key and no token; the output names the files that have to be kept beside it.

Examples:
  clawgate backup
  clawgate backup --to /mnt/safe/state.sqlite --force";

pub(crate) const GATEWAY_RUN: &str = "\
Examples:
  clawgate gateway run
  clawgate gateway run --port 19001 --auth token --token-file token.txt
  clawgate gateway run --verbose --log-format json
  clawgate --profile rescue gateway run --allow-unconfigured";

pub(crate) const GATEWAY_INSTALL: &str = "\
The service is a systemd user unit on Linux and a LaunchAgent on macOS, named by the profile. Secrets
of this shell that the gateway needs go into a file for your eyes only, never into the unit. Nothing is
written where the gateway would not start like this.

Examples:
  clawgate gateway install
  clawgate gateway install --print
  clawgate --profile rescue gateway install --socket-activation
  clawgate gateway install --env TELEGRAM_BOT_TOKEN --writable ~/notes";

pub(crate) const GATEWAY_RESTART: &str = "\
The port stays open: whoever connects meanwhile waits until the new gateway serves. The program that
now lies in the place of the old one is asked first whether it would start; if not, the old one goes
on. Under a service manager, this is a restart of the service.

Examples:
  clawgate gateway restart
  clawgate --profile rescue gateway restart --json";

pub(crate) const GATEWAY_STATUS: &str = "\
Examples:
  clawgate gateway status
  clawgate gateway status --port 19001 --json";

pub(crate) const GATEWAY_PROBE: &str = "\
Without --url or --port, the configured remote gateway and the one on this machine are tried. With
--ssh, a gateway that listens on another machine only is tried first, through a tunnel for this one
look. The exit code is that of the first target; a tunnel that cannot be opened is a warning.

Examples:
  clawgate gateway probe
  clawgate gateway probe --ssh nick@studio
  clawgate gateway probe --url wss://gw.example.com --token-file token.txt --json";

pub(crate) const GATEWAY_TOP: &str = "\
q, Esc or Ctrl-C ends it. Rates and percentiles are those of the last interval; of one page alone, those
since the gateway's start. With --json, one document comes in each interval, or with --once one in all.

Examples:
  clawgate gateway top
  clawgate gateway top --connections
  clawgate gateway top --once --json";

pub(crate) const GATEWAY_CALL: &str = "\
The result is printed as JSON. The connection asks for the scope that the method needs, and no more.

Examples:
  clawgate gateway call health
  clawgate gateway call logs.tail --params '{limit: 20}'
  clawgate gateway call system-event --params - < event.json";

pub(crate) const CONFIG_GET: &str = "\
Examples:
  clawgate config get
  clawgate config get gateway.auth --json";

pub(crate) const REMOTE_SET: &str = "\
What clients would refuse is refused before it is written: ws:// to a public host, a pin or headers
without wss://, an SSH target that is none. When the URL or the SSH host becomes another one, token,
password, headers and pins of the one before are left out.

Examples:
  clawgate remote set --url wss://gw.example.com --token-file token.txt
  clawgate remote set --url ws://127.0.0.1:18789 --transport ssh --ssh-target ada@gw.example.com
  clawgate remote set --url wss://gw.example.com --edge-auth-ref X-Key=env:default:EDGE_KEY";

pub(crate) const REMOTE_TEST: &str = "\
The steps are: name, TCP, TLS with the pin, upgrade, challenge, authentication, scope. The exit code is
the one that a command would fail with.

Example:
  clawgate remote test --json";

pub(crate) const CONTEXT: &str = "\
A context is a gateway elsewhere under a name, with the settings of gateway.remote. It is put in force by
--context, else by CLAWGATE_CONTEXT, else by `clawgate context use`. What is sent to it stands in the
context itself: no token or password of the environment, of the config or of another context ever is.

Examples:
  clawgate context add lab --url wss://lab.example.com --token-file token.txt
  clawgate --context lab status
  clawgate context use lab";

pub(crate) const CONTEXT_ADD: &str = "\
Examples:
  clawgate context add lab --url wss://lab.example.com --token-ref env:default:LAB_TOKEN
  clawgate context add home --from-config --use
  clawgate context add lab --replace --tls-fingerprint SHA256";

pub(crate) const CONFIG_SET: &str = "\
Before anything is written, it says what the change needs: nothing (live), new connections
(reconnect), or a restart. What the file said before is kept beside it, in .bak, .bak.1 and so on.
A change that could not be used is refused, and so is one that cannot be made without damage.

Examples:
  clawgate config set gateway.port 18790 --dry-run
  clawgate config set gateway.trustedProxies '[\"10.0.0.1\"]'
  clawgate config set gateway.auth.token --value-file token.txt";

pub(crate) const CONFIG_PATCH: &str = "\
Example:
  echo '{ gateway: { bind: \"lan\", port: null } }' | clawgate config patch - --dry-run";

pub(crate) const CONFIG_WHY: &str = "\
It prints the value without secrets, the line that it stands in, the environment variables that stand
in its place or are named in it, and what a change of it needs.

Examples:
  clawgate config why gateway.port
  clawgate config why gateway.auth.token --json";

pub(crate) const CONFIG_DIFF: &str = "\
The gateway keeps the last config with which it started, or which it took up while it ran. It starts on
that one when the file cannot be used. Secrets are not shown: only that they differ. The exit code is 1
when there are differences.";

pub(crate) const AUTH_EXPLAIN: &str = "\
It prints the target, what would be sent and from which source, and why each other source is passed
over. Secrets are shown by a short id that does not reveal them. The exit code is the one that the
command would fail with.

Examples:
  clawgate auth explain
  clawgate auth explain --surface probe --json
  clawgate auth explain --url wss://gw.example.com --token-file token.txt";

pub(crate) const SECRETS_RELOAD: &str = "\
The gateway reads gateway.auth.token or gateway.auth.password again, with the variables of its own
start and the files and programs of references as they are by now. If that fails, the old secret stays
valid. Without --grace the old secret ends at once, and whoever came in by it is sent away.

Examples:
  clawgate secrets reload
  clawgate secrets reload --grace 1h";

pub(crate) const SECRETS_ROTATE: &str = "\
The new token is written into the token file of the gateway, where the commands of the same user find
it. Everybody else needs it before the time is over: `clawgate secrets status` shows who still uses
the old one.

Examples:
  clawgate secrets rotate
  clawgate secrets rotate --grace 1d";

pub(crate) const URL_CHECK: &str = "\
Plaintext ws:// is accepted to hosts that are near: loopback, private and link-local addresses,
.local, .ts.net and the Tailscale range. Everything else needs wss://. The exit code is 1 when a URL
is refused.

Examples:
  clawgate url check ws://192.168.1.20:18789 wss://gw.example.com
  clawgate url check --json - < urls.txt";

pub(crate) const DEVICES: &str = "\
On the gateway's own machine these commands use a socket that only the owner of the gateway's files
can open. It takes no token, and works when nobody can log in any more. With --url, --port, --token,
--password or a remote gateway they log in as any other command.

Examples:
  clawgate devices list
  clawgate devices approve --latest
  clawgate devices invite --role node --ttl 1h --commands system.run,system.which";

pub(crate) const DEVICES_APPROVE: &str = "\
It shows who asks, and for what. --latest asks back before it approves; without a terminal it needs
--yes.

Examples:
  clawgate devices approve 3f2b9c1e
  clawgate devices approve --latest --yes";

pub(crate) const DEVICES_ROTATE: &str = "\
The new token is shown to the device itself, and to the owner of the gateway's files. Another device
comes in once with the gateway's token or password to get it.

Examples:
  clawgate devices rotate 65b60673
  clawgate devices rotate 65b60673 --role operator --scopes operator.read";

pub(crate) const DEVICES_INVITE: &str = "\
The setup code holds the join token and the gateway's URL; the QR code is the same as a link. The
URL is the one that the gateway knows of itself, or --join-url.

Examples:
  clawgate devices invite --role node --ttl 1h --uses 1 --commands system.run,system.which
  clawgate devices invite --role operator --scopes operator.read --join-url wss://gw.example.com";

pub(crate) const DEVICES_JOIN: &str = "\
A join token is used up by the device that comes with it; the token that the gateway gives in return
is kept for this gateway, device and role.

Examples:
  clawgate devices join - --role operator < setup-code.txt
  clawgate devices join TOKEN --url wss://gw.example.com";

pub(crate) const SECURITY_LOG: &str = "\
It reads the gateway's database, whether the gateway runs or not. The newest 50,000 lines are kept. A
flood of attempts becomes one line with a count.

Examples:
  clawgate security log
  clawgate security log --limit 200 --json";

pub(crate) const APPROVALS: &str = "\
A program that asks before it runs something waits until somebody decides, for 30 minutes at most.

Examples:
  clawgate approvals list
  clawgate approvals resolve 3f2b9c1e allow-once
  clawgate approvals get --gateway";

pub(crate) const APPROVALS_WATCH: &str = "\
While it runs, the gateway has somebody to ask. It comes back by itself when the connection is lost,
and shows what it missed. With --json, one document a line.

Examples:
  clawgate approvals watch
  clawgate approvals watch --json";

pub(crate) const APPROVALS_RESOLVE: &str = "\
allow-always is for the same command of the same agent, in the same folder and with the same
environment; other questions about it are answered by themselves from then on.

Examples:
  clawgate approvals resolve 3f2b9c1e allow-once
  clawgate approvals resolve 3f2b9c1e allow-always --days 30
  clawgate approvals resolve 3f2b9c1e deny";

pub(crate) const APPROVALS_GET: &str = "\
Examples:
  clawgate approvals get --gateway
  clawgate approvals get --node workshop --json";

pub(crate) const LOGS: &str = "\
It reads the log over the connection, so it works from elsewhere too. With --follow it goes on where it
was after the connection was lost. With --json, one document a line.

Examples:
  clawgate logs --limit 50
  clawgate logs --follow";

pub(crate) const NODE_RUN: &str = "\
A gateway that approved this node can look up programs, run what the rules allow, and call the
commands that are given here. The rules are in exec-approvals.json in the state folder. Without --url
or --host the gateway of this machine is meant; gateway.remote is ignored.

Examples:
  clawgate node run
  clawgate node run --url wss://gw.example.com --pair CODE
  clawgate node run --exec deny --command lights.set=/usr/local/bin/lights
  clawgate node run --host 192.168.1.20 --token-file token.txt --json";

pub(crate) const NODES: &str = "\
A node is named by its id, a beginning that no other one has, or its name. New commands of a node wait
until somebody approves them: `clawgate nodes pending` shows them.

Examples:
  clawgate nodes list
  clawgate nodes approve 3f2b9c1e
  clawgate nodes invoke office system.which --params '{bins: [\"git\"]}'";

pub(crate) const CHANNELS_STATUS: &str = "\
A channel is healthy, connecting, degraded (it tries again by itself), blocked (somebody has to change
something), stopped or disabled. No token is shown.

Examples:
  clawgate channels status
  clawgate channels status telegram --json";

pub(crate) const CHANNELS_LOGOUT: &str = "\
The token stays in the config: to take it from the gateway for good, revoke it at the service and
remove it there.

Examples:
  clawgate channels logout telegram --account work";

pub(crate) const PAIRING: &str = "\
With dmPolicy \"pairing\", which is the default, somebody whom nobody knows is told a code and nothing
else. A code ends after an hour.

Examples:
  clawgate pairing list
  clawgate pairing approve telegram 7KQ2M9XB --owner
  clawgate pairing reject 7KQ2M9XB";

pub(crate) const PAIRING_APPROVE: &str = "\
Examples:
  clawgate pairing approve 7KQ2M9XB
  clawgate pairing approve telegram 7KQ2M9XB --account work --owner";

pub(crate) const SEND: &str = "\
It waits until the service has the message. A message that was taken goes on when this command does
not wait any more: `clawgate messages list` shows it.

Examples:
  clawgate send --channel telegram --to 123456789 --message 'The door is open.'
  clawgate send --channel telegram --to -1001234567890 --thread 7 --file plan.pdf --silent
  date | clawgate send --to 123456789 --message -";

pub(crate) const MESSAGES_LIST: &str = "\
uncertain means that nobody knows whether the service has it: it is not repeated by itself.

Examples:
  clawgate messages list
  clawgate messages list --state uncertain --json
  clawgate messages trace m12";

pub(crate) const MESSAGES_RESEND: &str = "\
Only what is uncertain or failed can be sent again. If an answer arrived after all, people read it
twice. If a run was cut while it called nodes, its message is answered anew, and the nodes are called
again.

Examples:
  clawgate messages resend m12";

pub(crate) const AGENT: &str = "\
The reply is printed on standard output. A run belongs to the gateway: when the connection is lost,
this command connects again and gets the end of it. Ctrl-C stops the run (exit 130). A run that failed
or was stopped by others gives exit 6, one whose time was over exit 5.

Examples:
  clawgate agent --message 'is the door locked?'
  clawgate agent --session-key work --stream --message - < question.txt
  clawgate agent --message /nodes --json";

pub(crate) const CHAT: &str = "\
Each line is a message; /help shows the commands. Ctrl-C stops the run under way, and leaves when
pressed twice at the prompt; Ctrl-D leaves. Input from a pipe is taken line by line, each after the
reply to the one before; replies go to standard output and everything else to standard error, and the
exit code is that of the last run: 0, 5 when its time was over, 6 when it failed or was stopped, 130
after Ctrl-C. With --json each reply is one line of JSON.

Examples:
  clawgate chat
  clawgate chat --session-key work --history 50
  printf 'hello\\nhow are you?\\n' | clawgate chat --json";

pub(crate) const SESSIONS: &str = "\
A session is named by its key: main, any other word, or agent:ID:WORD. Reset, delete and compact ask
back on a terminal, and need --yes elsewhere.

Examples:
  clawgate sessions list
  clawgate sessions history work --limit 20
  clawgate sessions search door locked
  clawgate sessions delete work --yes";

pub(crate) const DEMO: &str = "\
It starts a gateway on a free loopback port and a node, both with files and a token of their own in a
temporary folder, sends one message through the built-in agent to the node, and shows each hop with its
time. With --telegram the message is written in a chat with a bot, and the reply comes there; Telegram's part
is played by a stand-in on this machine. Nothing is left behind, and nothing of your own set-up is read or
changed.

Examples:
  clawgate demo
  clawgate demo --telegram
  clawgate demo --json";
