//! Somebody has seen a good client connect, and sends what it sent.

use clawgate_core::device::PayloadVersion;
use clawgate_tests::failure::TestResult;
use clawgate_tests::raw_client::RawClient;
use serde_json::{Value, json};

use crate::devices::{Device, code};
use crate::server::{TOKEN, TestServer};

const READ: &[&str] = &["operator.read"];

fn dial(server: &TestServer) -> TestResult<(RawClient, Value)> {
    let mut client = RawClient::dial(&server.url())?;
    let challenge = client.event("connect.challenge")?;
    Ok((client, challenge))
}

#[test]
fn a_captured_connect_is_worth_nothing_on_another_connection() -> TestResult {
    let server = TestServer::start()?;
    let device = Device::app(7, READ).with(json!({ "token": TOKEN }));
    for version in [PayloadVersion::V2, PayloadVersion::V3] {
        let (mut good, challenge) = dial(&server)?;
        let captured = device.signed(&challenge, version)?;
        good.call("connect", captured.clone())?.payload()?;

        // As it is; while the good client is connected, and after.
        for _ in 0..2 {
            let (mut thief, _) = dial(&server)?;
            let answer = thief.call("connect", captured.clone())?;
            assert_eq!(code((thief, answer))?, "DEVICE_AUTH_NONCE_MISMATCH");
        }
        // With the nonce and the time of the other connection written in.
        let (mut thief, challenge) = dial(&server)?;
        let mut patched = captured.clone();
        patched["device"]["nonce"] = challenge["payload"]["nonce"].clone();
        patched["device"]["signedAt"] = challenge["payload"]["ts"].clone();
        let answer = thief.call("connect", patched)?;
        assert_eq!(code((thief, answer))?, "DEVICE_AUTH_SIGNATURE_INVALID");
    }
    Ok(())
}

#[test]
fn signatures_that_change_places_open_neither_connection() -> TestResult {
    let server = TestServer::start()?;
    let device = Device::app(7, READ).with(json!({ "token": TOKEN }));
    let ((mut first, for_first), (mut second, for_second)) = (dial(&server)?, dial(&server)?);
    let first_signed = device.signed(&for_first, PayloadVersion::V3)?;
    let second_signed = device.signed(&for_second, PayloadVersion::V3)?;

    let on_first = first.call("connect", second_signed)?;
    let on_second = second.call("connect", first_signed)?;

    assert_eq!(code((first, on_first))?, "DEVICE_AUTH_NONCE_MISMATCH");
    assert_eq!(code((second, on_second))?, "DEVICE_AUTH_NONCE_MISMATCH");
    Ok(())
}

#[test]
fn a_signature_of_long_ago_is_refused_even_with_the_right_nonce() -> TestResult {
    let server = TestServer::start()?;
    let device = Device::app(7, READ).with(json!({ "token": TOKEN }));
    for minutes in [-10_i64, 10] {
        let (mut client, mut challenge) = dial(&server)?;
        let ts = challenge["payload"]["ts"].as_i64().unwrap_or_default();
        challenge["payload"]["ts"] = json!(ts + minutes * 60_000);
        let answer = client.call("connect", device.signed(&challenge, PayloadVersion::V3)?)?;
        assert_eq!(code((client, answer))?, "DEVICE_AUTH_SIGNATURE_EXPIRED");
    }
    Ok(())
}
