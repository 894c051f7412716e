//! Pages in browsers: which may connect, and what the others can learn.

use clawgate_tests::failure::TestResult;
use serde_json::json;

use crate::caller::Program;
use crate::gateway::{Gateway, TOKEN};

const UI: &str = "https://control.example.com";
const NOT_ALLOWED: &str = "CONTROL_UI_ORIGIN_NOT_ALLOWED";

#[test]
fn pages_connect_by_their_origin() -> TestResult {
    let gateway = Gateway::with_token(json!({
        "controlUi": {"allowedOrigins": [UI]},
        "trustedProxies": ["127.0.0.2"],
    }))?;
    let page = Program::control_ui(7).showing("token", TOKEN);
    let at = |host: &str, origin: &str| gateway.caller().with("Host", host).with("Origin", origin);
    for (host, origin) in [
        ("127.0.0.1:18789", "http://127.0.0.1:18789"),
        ("localhost:18789", "http://localhost:18789"),
        // A page of a local development server.
        ("127.0.0.1:18789", "http://localhost:5173"),
        ("127.0.0.1:18789", UI),
        ("gw.example.net:443", "HTTPS://Control.Example.com:443"),
        ("gw.local:18789", "http://gw.local:18789"),
    ] {
        let auth = at(host, origin).enter(&page)?;
        assert_eq!(auth["method"], "token", "{host} {origin}");
    }
    for (host, origin) in [
        ("127.0.0.1:18789", "https://evil.example"),
        ("127.0.0.1:18789", "null"),
        ("127.0.0.1:18789", ""),
        ("127.0.0.1:18789", "http://localhost.evil.example"),
        ("127.0.0.1:18789", "http://127.0.0.1.evil.example"),
        (
            "127.0.0.1:18789",
            "https://control.example.com.evil.example",
        ),
        ("127.0.0.1:18789", "https://control.example.com:444"),
        ("127.0.0.1:18789", "http://control.example.com"),
        ("127.0.0.1:18789", "https://ada@control.example.com"),
    ] {
        let error = at(host, origin).refused(&page)?;
        assert_eq!(error["details"]["code"], NOT_ALLOWED, "{host} {origin}");
        // A program that claims to be none is judged alike: the browser wrote the header.
        let cli = Program::cli().showing("token", TOKEN);
        let error = at(host, origin).refused(&cli)?;
        assert_eq!(error["details"]["code"], NOT_ALLOWED, "{host} {origin}");
    }
    // Behind a proxy nobody is local.
    let remote = gateway.caller().from(2).for_client("203.0.113.5");
    let remote = remote.with("Origin", "http://localhost:5173");
    assert_eq!(remote.refused(&page)?["details"]["code"], NOT_ALLOWED);
    Ok(())
}

#[test]
fn other_programs_need_no_origin_and_a_control_ui_does() -> TestResult {
    let gateway = Gateway::with_token(json!({}))?;
    let cli = Program::cli().showing("token", TOKEN);
    assert_eq!(gateway.caller().enter(&cli)?["method"], "token");
    let page = Program::control_ui(7).showing("token", TOKEN);
    let error = gateway.caller().refused(&page)?;
    assert_eq!(error["details"]["code"], NOT_ALLOWED);
    Ok(())
}

#[test]
fn a_name_that_was_made_to_lead_here_opens_nothing() -> TestResult {
    // Nothing but the page's name stands in the way of a gateway without auth.
    let gateway = Gateway::start(&json!({"auth": {"mode": "none"}}))?;
    let port = 18789;
    for host in [
        "rebound.example",
        "localhost.rebound.example",
        "gateway",
        "127.0.0.1.nip.example",
    ] {
        let host = format!("{host}:{port}");
        let page = gateway
            .caller()
            .with("Host", &host)
            .with("Origin", &format!("http://{host}"));
        let error = page.refused(&Program::control_ui(7))?;
        assert_eq!(error["details"]["code"], NOT_ALLOWED, "{host}");
        // Reading without an origin, as a page of the same name may.
        for browser in [
            gateway.caller().with("User-Agent", "Mozilla/5.0"),
            gateway.caller().with("Sec-Fetch-Site", "same-origin"),
            gateway.caller(),
        ] {
            let answer = browser.with("Host", &host).get("/startupz")?;
            assert_eq!(
                answer.json()?,
                json!({"ok": true, "status": "started"}),
                "{host}"
            );
        }
    }
    let local = gateway
        .caller()
        .with("Host", "localhost")
        .get("/startupz")?;
    assert!(local.json()?["version"].is_string(), "{local:?}");
    Ok(())
}

#[test]
fn a_page_elsewhere_learns_nothing_from_probes() -> TestResult {
    let gateway = Gateway::with_token(json!({}))?;
    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        let answer = gateway.caller().with(name, value).get("/readyz")?;
        assert_eq!(answer.json()?, json!({"ready": true}), "{name}: {value}");
    }
    Ok(())
}

#[test]
fn no_answer_shares_anything_with_other_origins() -> TestResult {
    let gateway = Gateway::with_token(json!({"controlUi": {"allowedOrigins": ["*"]}}))?;
    let page = gateway
        .caller()
        .with("Origin", UI)
        .with("Access-Control-Request-Method", "POST")
        .with("Access-Control-Request-Headers", "authorization")
        .with("Access-Control-Request-Private-Network", "true");
    for (method, path, status) in [
        ("OPTIONS", "/healthz", 405),
        ("OPTIONS", "/readyz", 405),
        ("OPTIONS", "/tools/invoke", 404),
        ("OPTIONS", "/v1/chat/completions", 404),
        ("OPTIONS", "*", 404),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("POST", "/tools/invoke", 404),
    ] {
        let answer = page.ask(method, path)?;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(!answer.head.contains("access-control"), "{}", answer.head);
    }
    let refused = page.for_client("203.0.113.5").upgrade()?;
    let Err(refused) = refused else {
        panic!("let in");
    };
    assert!(!refused.head.contains("access-control"), "{}", refused.head);
    Ok(())
}
