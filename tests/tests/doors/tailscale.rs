//! Tailscale: logins that the local daemon confirms, and the gateway's route into the tailnet. A
//! stand-in for the `tailscale` program answers as the real one does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clawgate_core::tailscale::{Publication, Route};
use clawgate_smol::{Tailscale, TailscaleError};
use clawgate_tests::failure::{Failure, TestResult};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::caller::{Caller, Program};
use crate::gateway::{Gateway, TOKEN};

const HOST: &str = "gw.tail1.ts.net";
const LOGIN: &str = "ada@example.org";

/// The stand-in, and what it was asked.
struct Daemon {
    folder: TempDir,
}

impl Daemon {
    fn new() -> TestResult<Self> {
        let daemon = Self {
            folder: TempDir::new()?,
        };
        let whois = |login: &str, tags: &Value| {
            json!({
                "Node": {"ID": 1, "Name": "laptop.tail1.ts.net.", "Tags": tags},
                "UserProfile": {"ID": 7, "LoginName": login, "DisplayName": "Ada"},
                "CapMap": null,
            })
        };
        for (ip, answer) in [
            ("100.64.0.1", whois(LOGIN, &Value::Null)),
            ("100.64.0.2", whois("eve@example.org", &Value::Null)),
            (
                "100.64.0.3",
                whois("tagged-devices", &json!(["tag:server"])),
            ),
            ("100.64.0.4", whois(LOGIN, &json!(["tag:server"]))),
        ] {
            fs::write(daemon.path(ip), answer.to_string())?;
        }
        let folder = daemon.folder.path().display();
        let script = format!(
            r#"#!/bin/sh
cd '{folder}' || exit 9
echo "$*" >> asked
env > environment
case "$*" in
"whois --json 100.64.0.5") echo 'no such peer' ;;
"whois --json 100.64.0.6") echo 'peer not found' >&2; exit 1 ;;
"whois --json 100.64.0.7") cat 100.64.0.1; sleep 600 ;;
"whois --json 100.64.0.8") cat 100.64.0.1; head -c 1000000 /dev/zero | tr '\0' ' ' ;;
"whois --json "*) cat "$3" ;;
"serve status --json") if [ -e status ]; then cat status; else echo '{{}}'; fi ;;
*" --https=443 --set-path=/ off") rm status ;;
*" --bg --yes --https=443 --set-path=/ http://127.0.0.1:"*)
    if [ -e broken ]; then echo 'Serve is not enabled on your tailnet.' >&2; exit 1; fi
    if [ -e idle ]; then exit 0; fi
    printf '{{"TCP":{{"443":{{"HTTPS":true}}}},"Web":{{"{HOST}:443":{{"Handlers":{{"/":{{"Proxy":"%s"}}}}}}}}}}' "$6" > status ;;
*) exit 2 ;;
esac
"#
        );
        let program = daemon.path("tailscale");
        fs::write(&program, script)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(daemon)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self) -> Tailscale {
        Tailscale::vouched_for(self.path("tailscale"))
    }

    fn asked(&self) -> Vec<String> {
        read(&self.path("asked")).lines().map(Into::into).collect()
    }

    /// A gateway behind `tailscale serve` or `funnel`.
    fn gateway(&self, mode: &str, auth: &Value) -> TestResult<Gateway> {
        let config = json!({"auth": auth, "tailscale": {"mode": mode}});
        Gateway::start_with(&config, self.program())
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn serve() -> Value {
    json!({"mode": "token", "token": TOKEN, "allowTailscale": true})
}

/// What Tailscale's proxy sends for a browser at this address.
fn forwarded(caller: Caller, ip: &str, login: &str) -> Caller {
    caller
        .with("Host", HOST)
        .with("Origin", &format!("https://{HOST}"))
        .for_client(ip)
        .with("X-Forwarded-Proto", "https")
        .with("X-Forwarded-Host", HOST)
        .with("Tailscale-User-Login", login)
        .with("Tailscale-User-Name", "Ada")
}

#[test]
fn a_confirmed_login_is_let_in_and_remembered() -> TestResult {
    let daemon = Daemon::new()?;
    let gateway = daemon.gateway("serve", &serve())?;
    for login in [LOGIN, "Ada@Example.org"] {
        let browser = forwarded(gateway.by_tailscale(), "100.64.0.1", login);
        let auth = browser.enter(&Program::control_ui(7))?;
        assert_eq!(auth["method"], "tailscale", "{login}");
        assert_eq!(auth["scopes"], json!(["operator.admin"]));
    }
    assert_eq!(daemon.asked(), ["whois --json 100.64.0.1"]);
    let entry = gateway.audit(2, |entry| entry["via"] == "tailscale")?;
    assert_eq!(entry[0]["user"], LOGIN);
    assert_eq!(entry[0]["from"], "100.64.0.1");
    // The program has none of the gateway's environment.
    let environment = read(&daemon.path("environment"));
    assert!(environment.contains("PATH=/usr/bin"), "{environment}");
    assert!(!environment.contains("CARGO"), "{environment}");
    Ok(())
}

#[test]
fn nothing_less_than_a_confirmed_login_counts() -> TestResult {
    let daemon = Daemon::new()?;
    let gateway = daemon.gateway("serve", &serve())?;
    let page = Program::control_ui(7);
    for (ip, why) in [
        ("100.64.0.2", "somebody else is there"),
        ("100.64.0.3", "a machine without a user"),
        ("100.64.0.4", "a machine with tags"),
        ("100.64.0.5", "garbage"),
        ("100.64.0.6", "a failure"),
        ("100.64.0.7", "an answer that never ends"),
        ("100.64.0.8", "an answer that is too long"),
        ("100.64.0.9", "nobody"),
    ] {
        let browser = forwarded(gateway.by_tailscale(), ip, LOGIN);
        assert_eq!(browser.refused_for(&page)?, "token_missing", "{why}");
        // The gateway's own auth goes on.
        let right = page.clone().showing("token", TOKEN);
        let error = browser.refused(&right)?;
        assert_eq!(error["details"]["code"], "PAIRING_REQUIRED", "{why}");
    }
    let nobody = forwarded(gateway.by_tailscale(), "100.64.0.3", "tagged-devices");
    assert_eq!(nobody.refused_for(&page)?, "token_missing");
    Ok(())
}

#[test]
fn a_secret_is_judged_by_itself() -> TestResult {
    let daemon = Daemon::new()?;
    let gateway = daemon.gateway("serve", &serve())?;
    let browser = forwarded(gateway.by_tailscale(), "100.64.0.1", LOGIN);
    let wrong = Program::control_ui(7).showing("token", "guess");
    assert_eq!(browser.refused_for(&wrong)?, "token_mismatch");
    assert!(daemon.asked().is_empty(), "{:?}", daemon.asked());
    Ok(())
}

#[test]
fn a_login_is_for_the_websocket_of_browsers_with_a_device() -> TestResult {
    let daemon = Daemon::new()?;
    let gateway = daemon.gateway("serve", &serve())?;
    let browser = forwarded(gateway.by_tailscale(), "100.64.0.1", LOGIN);
    // HTTP follows the gateway's own auth.
    assert_eq!(browser.get("/readyz")?.json()?, json!({"ready": true}));
    assert!(daemon.asked().is_empty(), "{:?}", daemon.asked());
    let error = browser.refused(&Program::cli())?;
    assert_eq!(
        error["details"]["code"], "DEVICE_IDENTITY_REQUIRED",
        "{error}"
    );
    // A node is paired as anywhere.
    let error = browser.refused(&Program::node(8))?;
    assert_eq!(error["details"]["code"], "PAIRING_REQUIRED", "{error}");
    Ok(())
}

#[test]
fn identity_headers_elsewhere_count_for_nothing() -> TestResult {
    let daemon = Daemon::new()?;
    let gateway = daemon.gateway("serve", &serve())?;
    // On the gateway's own port.
    let ordinary = forwarded(gateway.caller(), "100.64.0.1", LOGIN);
    let Err(refused) = ordinary.upgrade()? else {
        return Err(Failure::new("believed on the ordinary port"));
    };
    assert_eq!(refused.status, 403);
    // On the managed port, in another shape than Tailscale's.
    let managed = || gateway.by_tailscale().with("Host", HOST);
    for incomplete in [
        managed(),
        managed().with("Tailscale-User-Login", LOGIN),
        managed()
            .for_client("100.64.0.1")
            .with("Tailscale-User-Login", LOGIN),
        forwarded(gateway.by_tailscale(), "127.0.0.1", LOGIN),
        forwarded(gateway.by_tailscale(), "100.64.0.1", LOGIN)
            .with("Tailscale-Funnel-Request", "?1"),
    ] {
        let Err(refused) = incomplete.upgrade()? else {
            return Err(Failure::new(format!("believed: {incomplete:?}")));
        };
        assert_eq!(refused.status, 403);
    }
    assert!(daemon.asked().is_empty(), "{:?}", daemon.asked());
    Ok(())
}

#[test]
fn logins_may_be_switched_off() -> TestResult {
    let daemon = Daemon::new()?;
    let mut auth = serve();
    auth["allowTailscale"] = json!(false);
    let gateway = daemon.gateway("serve", &auth)?;
    let browser = forwarded(gateway.by_tailscale(), "100.64.0.1", LOGIN);
    assert_eq!(
        browser.refused_for(&Program::control_ui(7))?,
        "token_missing"
    );
    assert!(daemon.asked().is_empty(), "{:?}", daemon.asked());
    Ok(())
}

#[test]
fn the_internet_needs_the_password() -> TestResult {
    let daemon = Daemon::new()?;
    let auth = json!({"mode": "password", "password": "open-sesame", "allowTailscale": true});
    let gateway = daemon.gateway("funnel", &auth)?;
    let page = Program::control_ui(7);
    for browser in [
        forwarded(gateway.by_tailscale(), "203.0.113.5", LOGIN)
            .with("Tailscale-Funnel-Request", "?1"),
        forwarded(gateway.by_tailscale(), "100.64.0.1", LOGIN),
    ] {
        assert_eq!(browser.refused_for(&page)?, "password_missing");
        let right = page.clone().showing("password", "open-sesame");
        let error = browser.refused(&right)?;
        assert_eq!(error["details"]["code"], "PAIRING_REQUIRED", "{error}");
    }
    assert!(daemon.asked().is_empty(), "{:?}", daemon.asked());
    Ok(())
}

const ROUTE: Route = Route {
    publication: Publication::Serve,
    port: 40_001,
};

#[test]
fn a_route_is_made_replaced_and_ended() -> TestResult {
    let daemon = Daemon::new()?;
    let tailscale = daemon.program();
    let url = tailscale.publish(ROUTE, None)?;
    assert_eq!(url, format!("https://{HOST}"));
    assert!(read(&daemon.path("status")).contains("http://127.0.0.1:40001"));
    // The next start finds the route of the last one.
    let next = Route {
        port: 40_002,
        publication: Publication::Funnel,
    };
    tailscale.publish(next, Some(&ROUTE.target()))?;
    assert!(read(&daemon.path("status")).contains("http://127.0.0.1:40002"));
    // Only one's own route is ended.
    tailscale.withdraw(ROUTE)?;
    assert!(daemon.path("status").exists());
    tailscale.withdraw(next)?;
    assert!(!daemon.path("status").exists());
    assert!(
        daemon
            .asked()
            .iter()
            .any(|asked| asked.starts_with("funnel --bg"))
    );
    Ok(())
}

#[test]
fn routes_of_others_are_left_alone() -> TestResult {
    let daemon = Daemon::new()?;
    let tailscale = daemon.program();
    tailscale.publish(ROUTE, None)?;
    let before = read(&daemon.path("status"));
    let mine = Route {
        port: 40_002,
        ..ROUTE
    };
    for earlier in [None, Some("http://127.0.0.1:40003")] {
        let refused = tailscale.publish(mine, earlier);
        let Err(TailscaleError::Taken(taken)) = refused else {
            return Err(Failure::new(format!("not refused: {refused:?}")));
        };
        assert!(
            taken.to_string().contains("http://127.0.0.1:40001"),
            "{taken}"
        );
    }
    assert_eq!(read(&daemon.path("status")), before);
    Ok(())
}

#[test]
fn a_failure_says_what_the_program_said() -> TestResult {
    let daemon = Daemon::new()?;
    fs::write(daemon.path("broken"), "")?;
    let error = daemon.program().publish(ROUTE, None).err();
    let shown = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(
        shown.contains("Serve is not enabled on your tailnet."),
        "{shown}"
    );
    assert!(shown.contains("tailscale status"), "{shown}");

    // It says that all is well, and nothing is there.
    fs::remove_file(daemon.path("broken"))?;
    fs::write(daemon.path("idle"), "")?;
    let refused = daemon.program().publish(ROUTE, None);
    assert!(
        matches!(refused, Err(TailscaleError::NotPublished { .. })),
        "{refused:?}"
    );

    fs::write(daemon.path("status"), "logged out")?;
    let refused = daemon.program().publish(ROUTE, None);
    assert!(
        matches!(refused, Err(TailscaleError::Status(_))),
        "{refused:?}"
    );

    fs::write(daemon.path("status"), " ".repeat(300 * 1024))?;
    let refused = daemon.program().publish(ROUTE, None);
    assert!(
        matches!(refused, Err(TailscaleError::TooLong(_))),
        "{refused:?}"
    );

    let missing = Tailscale::vouched_for(daemon.path("nothing"));
    let refused = missing.publish(ROUTE, None);
    assert!(
        matches!(refused, Err(TailscaleError::Run(_))),
        "{refused:?}"
    );
    Ok(())
}
