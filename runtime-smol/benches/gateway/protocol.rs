//! What the clients say, as text.

/// The secret of the measured gateway, which lives as long as a measurement.
pub(crate) const TOKEN: &str = "token-of-the-measurements";

/// A local program that comes as an operator and leaves no presence row.
pub(crate) fn connect() -> String {
    format!(
        r#"{{"type":"req","id":"connect","method":"connect","params":{{"minProtocol":4,"maxProtocol":4,"client":{{"id":"gateway-client","version":"0.0.0","platform":"linux","mode":"backend"}},"role":"operator","scopes":["operator.admin"],"auth":{{"token":"{TOKEN}"}}}}}}"#
    )
}

/// The call that is measured.
pub(crate) fn health() -> String {
    call("00000001")
}

/// A call of about `bytes` bytes whose answer is as long: answers carry the id.
pub(crate) fn large_call(bytes: usize) -> String {
    call(&"x".repeat(bytes))
}

/// A call after which every reader is told of presence, with `bytes` bytes more than is needed.
pub(crate) fn system_event(number: usize, bytes: usize) -> String {
    let more = "x".repeat(bytes);
    format!(
        r#"{{"type":"req","id":"event","method":"system-event","params":{{"text":"Node: round {number}{more}"}}}}"#
    )
}

/// What the event begins with that [`system_event`] causes.
pub(crate) const PRESENCE: &[u8] = br#"{"type":"event","event":"presence""#;

fn call(id: &str) -> String {
    format!(r#"{{"type":"req","id":"{id}","method":"health","params":{{}}}}"#)
}
