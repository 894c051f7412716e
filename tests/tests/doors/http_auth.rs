//! The bearer secret over HTTP.

use clawgate_tests::failure::TestResult;
use serde_json::json;

use crate::gateway::{Gateway, TOKEN};

const CLIENT: &str = "203.0.113.5";

#[test]
fn details_are_for_local_callers_and_for_the_right_secret() -> TestResult {
    let gateway = Gateway::with_token(json!({"trustedProxies": ["127.0.0.2"]}))?;
    let local = gateway.caller().get("/readyz")?.json()?;
    assert!(
        local["uptimeMs"].is_u64() && local["failing"] == json!([]),
        "{local}"
    );

    let remote = gateway.caller().from(2).for_client(CLIENT);
    assert_eq!(remote.get("/readyz")?.json()?, json!({"ready": true}));
    let detailed = remote.clone().bearing(TOKEN).get("/startupz")?.json()?;
    assert!(
        detailed["version"] == "0.0.0" && detailed["uptimeMs"].is_u64(),
        "{detailed}"
    );
    for scheme in ["bearer", "BEARER"] {
        let value = format!("{scheme}  {TOKEN} ");
        let answer = remote
            .clone()
            .with("Authorization", &value)
            .get("/readyz")?;
        assert!(answer.json()?["uptimeMs"].is_u64(), "{value}");
    }
    Ok(())
}

#[test]
fn a_wrong_secret_is_told_and_another_scheme_is_none() -> TestResult {
    let gateway = Gateway::with_token(json!({"trustedProxies": ["127.0.0.2"]}))?;
    let remote = gateway.caller().from(2).for_client(CLIENT);
    let refused = remote.clone().bearing("guess").get("/readyz")?;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("www-authenticate"), Some("bearer"));
    assert_eq!(refused.json()?["error"]["type"], "unauthorized");
    // Two secrets are none, even if one of them is right.
    let both = remote.clone().bearing(TOKEN).bearing("guess");
    assert_eq!(both.get("/readyz")?.status, 401);
    for value in ["Basic dG9rZW4=", "Bearer", "Bearer  ", TOKEN] {
        let answer = remote.clone().with("Authorization", value).get("/readyz")?;
        assert_eq!(
            (answer.status, answer.json()?),
            (200, json!({"ready": true})),
            "{value}"
        );
    }
    let entry = gateway.audit(2, |entry| entry["action"] == "http")?;
    assert_eq!(entry[0]["reason"], "token_mismatch");
    assert_eq!(entry[0]["from"], CLIENT);
    assert!(!format!("{entry:?}").contains("guess"), "{entry:?}");
    Ok(())
}

#[test]
fn a_password_is_borne_as_well() -> TestResult {
    let gateway = Gateway::start(&json!({
        "auth": {"mode": "password", "password": "open-sesame"},
        "trustedProxies": ["127.0.0.2"],
    }))?;
    let remote = gateway.caller().from(2).for_client(CLIENT);
    let detailed = remote.clone().bearing("open-sesame").get("/readyz")?;
    assert!(detailed.json()?["uptimeMs"].is_u64(), "{detailed:?}");
    assert_eq!(remote.bearing(TOKEN).get("/readyz")?.status, 401);
    Ok(())
}

#[test]
fn what_is_not_there_is_not_found_whoever_asks() -> TestResult {
    let gateway = Gateway::with_token(json!({
        "auth": {"rateLimit": {"maxAttempts": 1}},
        "trustedProxies": ["127.0.0.2"],
    }))?;
    let remote = gateway.caller().from(2).for_client(CLIENT);
    for path in [
        "/v1/models",
        "/tools/invoke",
        "/hooks/wake",
        "/nothing",
        "/readyz/x",
    ] {
        let plain = remote.ask("POST", path)?;
        assert_eq!(plain.status, 404, "{path}");
        for caller in [
            remote.clone().bearing(TOKEN),
            remote.clone().bearing("guess"),
            gateway.caller(),
            gateway.caller().from(9).for_client(CLIENT),
        ] {
            assert_eq!(caller.ask("POST", path)?, plain, "{path}");
        }
    }
    // None of these guesses was looked at.
    assert_eq!(remote.bearing(TOKEN).get("/readyz")?.status, 200);
    Ok(())
}

#[test]
fn a_gateway_without_auth_tells_details_to_its_machine_only() -> TestResult {
    let gateway = Gateway::start(&json!({
        "auth": {"mode": "none"},
        "trustedProxies": ["127.0.0.2"],
    }))?;
    assert!(gateway.caller().get("/readyz")?.json()?["uptimeMs"].is_u64());
    let remote = gateway.caller().from(2).for_client(CLIENT);
    assert_eq!(remote.get("/readyz")?.json()?, json!({"ready": true}));
    Ok(())
}
