//! A body for frames.

use clawgate_core::{
    client::Hello,
    frame::{
        Droppable, FrameError, Incoming, OutboundEvent, RawJson, Request, encode_request,
        encode_response,
    },
    protocol::ConnectParams,
    secret::Secret,
};

/// A text that came over a socket: nothing panics, and what is read is written and read the same.
pub fn frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Request::parse(&text.into()) {
        Ok(request) => {
            assert!(!request.id.as_str().is_empty() && !request.method.is_empty());
            check_raw(&request.params);
            let written = encode_request(&request.id, &request.method, &request.params);
            let again = Request::parse(&written)
                .unwrap_or_else(|error| panic!("{written} is not read again: {error}"));
            assert_eq!(again.id, request.id);
            assert_eq!(again.method, request.method);
            assert_eq!(again.params, request.params);
            check_connect(&request.params);
        }
        Err(FrameError::NotJson { column }) => assert!(column <= text.len() + 1),
        Err(FrameError::Shape(problem)) => assert!(!problem.is_empty()),
        Err(FrameError::TooDeep) => {}
    }
    match Incoming::parse(&text.into()) {
        Ok(Incoming::Event(event)) => {
            check_raw(&event.payload);
            let version = event.state_version;
            let outbound =
                OutboundEvent::new(&event.event, &event.payload, version, Droppable::IfSlow);
            let written = outbound.encode(event.seq);
            assert!(written.len() <= outbound.max_len());
            let Ok(Incoming::Event(again)) = Incoming::parse(&written) else {
                panic!("{written} is not read again");
            };
            assert_eq!(again.event, event.event);
            assert_eq!(again.payload, event.payload);
            assert_eq!(again.seq, event.seq);
            assert_eq!(again.state_version, event.state_version);
        }
        Ok(Incoming::Response(response)) => {
            let written = encode_response(&response.id, &response.outcome);
            let Ok(Incoming::Response(again)) = Incoming::parse(&written) else {
                panic!("{written} is not read again");
            };
            assert_eq!(again.id, response.id);
            match (again.outcome, response.outcome) {
                (Ok(again), Ok(payload)) => {
                    assert_eq!(again, payload);
                    check_raw(&payload);
                    Hello::read(&payload);
                }
                (Err(again), Err(error)) => {
                    // Numbers in details may lose their last digit.
                    assert_eq!(again.code, error.code);
                    assert_eq!(again.message, error.message);
                    assert_eq!(again.details.is_some(), error.details.is_some());
                    assert_eq!(again.retryable, error.retryable);
                    assert_eq!(again.retry_after_ms, error.retry_after_ms);
                }
                (again, outcome) => panic!("{outcome:?} became {again:?}"),
            }
        }
        Err(_) => {}
    }
    if let Ok(raw) = RawJson::checked(text.to_owned()) {
        check_connect(&raw);
        Hello::read(&raw);
    }
}

/// What passes an envelope is one JSON value, and not too deep for a handler.
fn check_raw(raw: &RawJson) {
    assert!(RawJson::checked(raw.as_str().to_owned()).is_ok());
    if let Err(error) = raw.parse::<serde_json::Value>() {
        assert!(!error.to_string().contains("recursion"), "{error}");
    }
}

fn check_connect(raw: &RawJson) {
    let params = match ConnectParams::parse(raw) {
        Ok(params) => params,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    if params.role.is_none() {
        // A role that nobody knows has no name to write.
        return;
    }
    let written = params
        .encode()
        .unwrap_or_else(|error| panic!("parameters without a JSON form: {error}"));
    let again = ConnectParams::parse(&written)
        .unwrap_or_else(|error| panic!("{} is not read again: {error}", written.as_str()));
    assert_eq!(format!("{again:?}"), format!("{params:?}"));
    assert_eq!(again.auth, params.auth);
    assert_eq!(again.device, params.device);
    let shown = format!("{params:?}");
    let secrets = [&params.auth.token, &params.auth.password];
    for secret in secrets.into_iter().flatten().map(Secret::expose) {
        // One that stands elsewhere too is no secret.
        let once = raw.as_str().matches(secret).count() == 1;
        assert!(secret.len() < 12 || !once || !shown.contains(secret));
    }
}
