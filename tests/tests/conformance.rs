//! Runs the published conformance cases.

use clawgate_tests::conformance::Report;

fn run(cases: &str, functions: &[&str]) {
    let mut report = Report::default();
    report.run(cases);
    let failures: Vec<String> = report.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let answered: Vec<&str> = report.passed.keys().map(String::as_str).collect();
    assert_eq!(answered, functions);
}

#[test]
fn credentials() {
    run(
        include_str!("../data/cases/credentials.jsonl"),
        &["client_credentials", "server_auth", "server_startup_auth"],
    );
}

#[test]
fn host_policy() {
    run(
        include_str!("../data/cases/hostpolicy.jsonl"),
        &[
            "authorize",
            "break_glass_env",
            "browser_origin",
            "client_ip",
            "host_header_is_localish",
            "is_trusted_proxy",
            "listen_hosts",
            "normalize_tls_fingerprint",
            "parse_port_option",
            "parse_ssh_target",
            "rate_limit",
            "resolve_gateway_port",
            "resolve_runtime",
            "ws_url_allowed",
        ],
    );
}
