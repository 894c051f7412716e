//! What a load balancer or a script learns over plain HTTP on the same port.

use clawgate_tests::failure::TestResult;
use clawgate_tests::gateway_process::GatewayProcess;
use serde_json::Value;

#[test]
fn probes_answer_json_over_http() -> TestResult {
    let gateway = GatewayProcess::start()?;
    let cases = [
        ("/health", "/status", "live"),
        ("/healthz", "/status", "live"),
        ("/startupz", "/status", "started"),
    ];
    for (path, pointer, expected) in cases {
        let (status, body) = gateway.http_get(path)?;
        let body: Value = serde_json::from_str(&body)?;
        assert_eq!(status, 200, "{path}");
        assert_eq!(
            body.pointer(pointer).and_then(Value::as_str),
            Some(expected),
            "{path}: {body}"
        );
        assert_eq!(body["ok"], true, "{path}: {body}");
    }
    let (status, body) = gateway.http_get("/readyz")?;
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&body)?["ready"], true);
    Ok(())
}
