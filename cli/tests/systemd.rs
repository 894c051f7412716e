//! The gateway under a real systemd: the user's manager, started in namespaces of its own. That needs
//! the rights to make them, and systemd's programs; where these are missing, the test says so, and
//! `gateway_service` and `hand_over` try the same with stand-ins.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

const SYSTEMD: &str = "/lib/systemd/systemd";

/// Makes a place for the manager, starts it, and does everything that a user would.
const STEPS: &str = r#"
set -u
export XDG_RUNTIME_DIR=/run/user/0
unset DBUS_SESSION_BUS_ADDRESS
mount -t tmpfs tmpfs /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 99
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/user/0 || exit 99
group=/sys/fs/cgroup/clawgate-test-$NUMBER
mkdir "$group" && echo $$ > "$group/cgroup.procs" || exit 99
ip link set lo up || exit 99
"$SYSTEMD" --user > "$HOME/systemd.log" 2>&1 &
manager=$!
count=0
until systemctl --user is-system-running > /dev/null 2>&1; do
    count=$((count + 1))
    [ $count -lt 100 ] || exit 99
    sleep 0.1
done
finish() {
    kill $manager; wait $manager
    echo $$ > /sys/fs/cgroup/cgroup.procs
    find "$group" -depth -type d -exec rmdir {} +
    exit $1
}
fail() { echo "FAILED: $*"; systemctl --user status clawgate-gateway.service --no-pager; finish 1; }
property() { systemctl --user show -P "$1" clawgate-gateway.service; }
hold() {
    stop=$HOME/stop.$1
    while [ ! -e "$stop" ]; do
        curl -s -o /dev/null -m 30 -w '%{http_code}\n' http://127.0.0.1:18789/healthz || echo refused
    done > "$HOME/answers.$1"
}
served() { sort "$HOME/answers.$1" | uniq -c; }

"$CLAWGATE" gateway install $FLAGS || fail install
[ "$(property ActiveState)" = active ] || fail "not active"
[ "$(property Type)" = notify ] || fail "no notices"
property StatusText | grep -q 'listening on ws://127.0.0.1:18789' || fail "no status"
"$CLAWGATE" gateway status | grep 'Service .*running, process' || fail status
pid=$(property MainPID)
"$CLAWGATE" gateway status --json | grep -q "\"holder\":{[^}]*\"pid\":$pid" || fail "port holder"

# Nobody is turned away, whether the manager restarts it or it starts itself anew.
hold a & client=$!
"$CLAWGATE" gateway restart || fail restart
"$CLAWGATE" gateway restart || fail restart
before=$(property MainPID)
systemctl --user kill --kill-whom=main -s USR2 clawgate-gateway.service || fail signal
until grep -q 'starting anew' "$HOME/.openclaw/clawgate/gateway.log"; do sleep 0.05; done
until "$CLAWGATE" health > /dev/null 2>&1; do sleep 0.05; done
[ "$(property MainPID)" = "$before" ] || fail "another process"
touch "$HOME/stop.a"; wait $client
served a
[ "$(sort -u "$HOME/answers.a")" = 200 ] || fail "somebody was turned away"
[ "$(property NRestarts)" = 0 ] || fail "it was restarted"

# Only the state can be written to.
nsenter -t "$(property MainPID)" -m touch "$HOME/elsewhere" 2> /dev/null && fail "home is writable"
nsenter -t "$(property MainPID)" -m touch "$HOME/.openclaw/here" || fail "state is not writable"

# What another start would not change is not tried again.
echo '{ broken' > "$HOME/.openclaw/openclaw.json"
"$CLAWGATE" gateway restart && fail "restarted with a broken config"
[ "$(property ActiveState)" = active ] || fail "the old gateway is gone"
systemctl --user restart clawgate-gateway.service || fail "the last config that worked"
property StatusText | grep -q 'last config that worked' || fail "it does not say so"
echo "{ gateway: { mode: 'remote' } }" > "$HOME/.openclaw/openclaw.json"
systemctl --user restart clawgate-gateway.service 2> /dev/null
[ "$(property ExecMainStatus)" = 78 ] && [ "$(property ActiveState)" = failed ] || fail "exit 78"
echo "$CONFIG" > "$HOME/.openclaw/openclaw.json"
systemctl --user reset-failed
"$CLAWGATE" gateway start || fail start
"$CLAWGATE" gateway stop || fail stop
[ "$(property ActiveState)" = inactive ] || fail "it did not stop"
"$CLAWGATE" gateway uninstall || fail uninstall
finish 0
"#;

/// Whether this machine lets the steps be tried.
fn possible() -> Result<(), String> {
    if !Path::new(SYSTEMD).exists() {
        return Err(format!("{SYSTEMD} is missing"));
    }
    for program in ["systemctl", "unshare", "nsenter", "ip", "curl"] {
        let found = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        // `ip` knows the flag by another name.
        if found.is_err() {
            return Err(format!("{program} is missing"));
        }
    }
    let allowed = Command::new("unshare")
        .args(["-n", "-m", "-p", "-f", "-C", "--mount-proc", "true"])
        .stderr(Stdio::null())
        .status();
    match allowed {
        Ok(status) if status.success() => Ok(()),
        Ok(_) | Err(_) => Err("namespaces may not be made here".into()),
    }
}

fn under_systemd(flags: &str) {
    if let Err(why) = possible() {
        println!("NOT TRIED under a real systemd: {why}");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let config = "{ gateway: { mode: 'local', bind: 'loopback' } }";
    fs::create_dir_all(home.path().join(".openclaw")).unwrap();
    fs::write(home.path().join(".openclaw/openclaw.json"), config).unwrap();
    let output = Command::new("unshare")
        .args([
            "-n",
            "-m",
            "-p",
            "-f",
            "-C",
            "--mount-proc",
            "sh",
            "-c",
            STEPS,
        ])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("CLAWGATE", env!("CARGO_BIN_EXE_clawgate"))
        .env("SYSTEMD", SYSTEMD)
        .env("NUMBER", format!("{}-{}", std::process::id(), flags.len()))
        .env("FLAGS", flags)
        .env("CONFIG", config)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    match output.status.code() {
        Some(0) => println!("{said}"),
        Some(99) => println!("NOT TRIED under a real systemd: it does not start here\n{said}"),
        _ => panic!("{said}"),
    }
}

#[test]
fn a_gateway_lives_under_the_users_systemd() {
    under_systemd("");
}

#[test]
fn systemd_opens_the_sockets_of_a_gateway() {
    under_systemd("--socket-activation");
}
