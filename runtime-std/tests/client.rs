//! The lasting client over real sockets: calls from many threads, events, loss, return, and end.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are outside of test functions"
)]

mod common;

use std::{sync::mpsc::Receiver, thread};

use clawgate_core::client::{
    CallError as NoAnswer, Disconnected, Ending, Next, Phase, RequestError,
};
use clawgate_std::{CallError, Client, ClientEvent, ClientOptions};
use common::{FakeGateway, LONG, Peer, call, profile, signal};
use serde_json::json;

fn start(gateway: &FakeGateway, options: ClientOptions) -> (Client, Receiver<ClientEvent>) {
    Client::start(gateway.target(), profile(), options).unwrap()
}

/// The next event that is not a message of the gateway.
fn next(events: &Receiver<ClientEvent>) -> ClientEvent {
    events.recv_timeout(LONG).expect("an event")
}

#[test]
fn any_thread_may_call() {
    let gateway = FakeGateway::start(1, |_, stream| {
        let mut peer = Peer::accept(stream);
        peer.welcome();
        peer.echo();
    });
    let (client, events) = start(&gateway, ClientOptions::default());
    assert_eq!(client.wait_connected(LONG), Phase::Connected);
    assert!(matches!(next(&events), ClientEvent::Connected(_)));
    thread::scope(|scope| {
        for n in 0..4 {
            let client = &client;
            scope.spawn(move || {
                for m in 0..25 {
                    let method = format!("m{n}.{m}");
                    let result = client.call(call(&method)).unwrap();
                    assert_eq!(result.as_str(), format!(r#"{{"method":"{method}"}}"#));
                }
            });
        }
    });
    client.close();
    assert!(matches!(
        next(&events),
        ClientEvent::Disconnected {
            next: Next::Stop,
            ..
        }
    ));
    assert!(events.recv().is_err(), "the client is gone");
    gateway.join();
}

#[test]
fn events_arrive_in_order_and_gaps_are_told() {
    let gateway = FakeGateway::start(1, |_, stream| {
        let mut peer = Peer::accept(stream);
        peer.welcome();
        for seq in [1, 2, 4] {
            peer.send(&json!({"type":"event","event":"presence","payload":{},"seq":seq}));
        }
        peer.echo();
    });
    let (client, events) = start(&gateway, ClientOptions::default());
    assert!(matches!(next(&events), ClientEvent::Connected(_)));
    for seq in [1, 2] {
        assert!(matches!(next(&events), ClientEvent::Event(event) if event.seq == Some(seq)));
    }
    assert!(matches!(next(&events), ClientEvent::Gap(gap) if gap.expected == 3));
    assert!(matches!(next(&events), ClientEvent::Event(event) if event.seq == Some(4)));
    drop(client);
    gateway.join();
}

#[test]
fn a_slow_reader_learns_how_much_it_missed() {
    let gateway = FakeGateway::start(1, |_, stream| {
        let mut peer = Peer::accept(stream);
        peer.welcome();
        for seq in 0..10 {
            peer.send(&json!({"type":"event","event":"presence","payload":{},"seq":seq}));
        }
        let request = peer.request().unwrap();
        peer.answer(&request, json!({}));
        let request = peer.request().unwrap();
        peer.send(&json!({"type":"event","event":"last","payload":{},"seq":10}));
        peer.answer(&request, json!({}));
        peer.echo();
    });
    let options = ClientOptions {
        max_events: 4,
        ..ClientOptions::default()
    };
    let (client, events) = start(&gateway, options);
    client.wait_connected(LONG);
    // Its answer comes after the events, so they all have been taken or dropped.
    client.call(call("flush")).unwrap();
    assert!(matches!(next(&events), ClientEvent::Connected(_)));
    for seq in 0..3 {
        assert!(matches!(next(&events), ClientEvent::Event(event) if event.seq == Some(seq)));
    }
    client.call(call("more")).unwrap();
    assert!(matches!(next(&events), ClientEvent::Missed(7)));
    assert!(matches!(next(&events), ClientEvent::Event(event) if &*event.event == "last"));
    drop(client);
    gateway.join();
}

#[test]
fn a_lost_connection_comes_back_and_calls_are_not_repeated() {
    let (first_done, is_first_done) = signal();
    let gateway = FakeGateway::start(2, move |number, stream| {
        let mut peer = Peer::accept(stream);
        peer.welcome();
        if number == 0 {
            assert_eq!(peer.request().unwrap()["method"], "lost");
            first_done.send(()).unwrap();
        } else {
            let request = peer.request().unwrap();
            assert_eq!(request["method"], "again");
            peer.answer(&request, json!({}));
            peer.echo();
        }
    });
    let (client, events) = start(&gateway, ClientOptions::default());
    client.wait_connected(LONG);
    assert_eq!(
        client.call(call("lost")),
        Err(CallError::Answer(NoAnswer::Ended(Ending::Lost)))
    );
    is_first_done.recv().unwrap();
    assert!(matches!(next(&events), ClientEvent::Connected(_)));
    assert!(matches!(
        next(&events),
        ClientEvent::Disconnected {
            next: Next::Retry(_),
            ..
        }
    ));
    assert_eq!(
        client.call(call("early")),
        Err(CallError::NotSent(RequestError::NotConnected))
    );
    client.resume();
    assert!(matches!(next(&events), ClientEvent::Connected(_)));
    client.call(call("again")).unwrap();
    client.close();
    gateway.join();
}

#[test]
fn a_refused_client_pauses_until_resumed() {
    let gateway = FakeGateway::start(2, |number, stream| {
        let mut peer = Peer::accept(stream);
        if number == 0 {
            peer.challenge();
            let connect = peer.request().unwrap();
            peer.refuse(
                &connect,
                json!({"code":"INVALID_REQUEST","message":"no",
                    "details":{"code":"AUTH_TOKEN_MISMATCH"}}),
            );
            assert!(peer.request().is_none());
        } else {
            peer.welcome();
            peer.echo();
        }
    });
    let (client, events) = start(&gateway, ClientOptions::default());
    assert_eq!(client.wait_connected(LONG), Phase::Paused);
    let ClientEvent::Disconnected { why, next } = next(&events) else {
        panic!("not refused");
    };
    assert!(matches!(why, Disconnected::Conn(Ending::Refused(_))));
    assert!(matches!(next, Next::Paused(reason) if reason.code == "AUTH_TOKEN_MISMATCH"));
    client.resume();
    assert_eq!(client.wait_connected(LONG), Phase::Connected);
    assert!(matches!(self::next(&events), ClientEvent::Connected(_)));
    client.close();

    gateway.join();
}

#[test]
fn a_cancelled_call_does_not_disturb_others() {
    let gateway = FakeGateway::start(1, |_, stream| {
        let mut peer = Peer::accept(stream);
        peer.welcome();
        let slow = peer.request().unwrap();
        let fast = peer.request().unwrap();
        peer.answer(&slow, json!("late"));
        peer.answer(&fast, json!("fast"));
        peer.echo();
    });
    let (client, _events) = start(&gateway, ClientOptions::default());
    client.wait_connected(LONG);
    client.start_call(call("slow")).unwrap().cancel();
    assert_eq!(client.call(call("fast")).unwrap().as_str(), "\"fast\"");
    client.close();
    gateway.join();
}

#[test]
fn the_end_releases_waiting_callers() {
    let (called, is_called) = signal();
    let gateway = FakeGateway::start(1, move |_, stream| {
        let mut peer = Peer::accept(stream);
        peer.welcome();
        peer.request().unwrap();
        called.send(()).unwrap();
        assert!(peer.request().is_none());
    });
    let (client, _events) = start(&gateway, ClientOptions::default());
    client.wait_connected(LONG);
    let waiting = client.start_call(call("slow")).unwrap();
    is_called.recv().unwrap();
    client.close();
    assert_eq!(
        waiting.wait(),
        Err(CallError::Answer(NoAnswer::Ended(Ending::Stopped)))
    );
    gateway.join();
}

#[test]
fn an_end_while_dialling_does_not_wait() {
    let (accepted, is_accepted) = signal();
    let gateway = FakeGateway::start(1, move |_, stream| {
        accepted.send(()).unwrap();
        common::drain(stream);
    });
    let (client, events) = start(&gateway, ClientOptions::default());
    is_accepted.recv().unwrap();
    client.close();
    assert!(matches!(
        next(&events),
        ClientEvent::Disconnected {
            next: Next::Stop,
            ..
        }
    ));
    gateway.join();
}
