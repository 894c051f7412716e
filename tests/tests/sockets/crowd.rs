//! Many clients at once.

use clawgate_tests::failure::{Failure, TestResult};
use clawgate_tests::raw_client::operator_params;
use serde_json::json;

use crate::raw::{RawSocket, UPGRADE, first};
use crate::server::{TOKEN, TestServer};

const CROWD: usize = 1_000;

#[test]
fn a_thousand_clients_come_at_once_and_none_is_refused() -> TestResult {
    // Both ends of every connection are in this process.
    let wanted = 2 * CROWD as u64 + 500;
    if rlimit::increase_nofile_limit(wanted)? < wanted {
        return Err(Failure::new(format!("this test needs {wanted} open files")));
    }
    let server = TestServer::start()?;

    let mut crowd = Vec::with_capacity(CROWD);
    for _ in 0..CROWD {
        let mut socket = RawSocket::dial(server.address())?;
        socket.send(UPGRADE)?;
        crowd.push(socket);
    }
    let scopes = ["operator.read"];
    let connect = json!({
        "type": "req", "id": "1", "method": "connect", "params": operator_params(TOKEN, &scopes),
    });
    for socket in &mut crowd {
        socket.expect_upgrade()?;
        socket.send_frame(first::TEXT, connect.to_string())?;
    }
    for socket in &mut crowd {
        let hello = socket.message("id", "1")?;
        assert_eq!(hello["payload"]["type"], "hello-ok", "{hello}");
    }
    assert_eq!(server.connections(), CROWD);
    let health = json!({"type": "req", "id": "2", "method": "health", "params": {}}).to_string();
    for socket in &mut crowd {
        socket.send_frame(first::TEXT, &health)?;
    }
    for socket in &mut crowd {
        assert_eq!(socket.message("id", "2")?["ok"], true);
    }
    Ok(())
}
