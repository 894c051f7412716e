//! A gateway and a client over a Unix socket pair, with length-prefixed packets in place of
//! WebSocket, and one blocking thread for each side.
//!
//! `wire.rs` is the transport. This file holds the two hosts: they read clocks and randomness,
//! which the core never does, carry values, and decide nothing.
//!
//! `cargo run -p clawgate-tests --example length_prefixed`
#![allow(clippy::print_stdout, reason = "an example prints")]

mod wire;

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clawgate_core::client::{self, Call, ClientConn, Profile, Route, Stage, Target};
use clawgate_core::device::DeviceIdentity;
use clawgate_core::frame::RawJson;
use clawgate_core::gateway::{
    AdmissionPolicy, Effect, EffectOutcome, Gateway, GatewaySetup, HostInfo, ProcessStats,
};
use clawgate_core::ids::ConnId;
use clawgate_core::job::{JobEvent, JobFailure, Reached};
use clawgate_core::limits::Limits;
use clawgate_core::policy::{AuthRule, Endpoint, Scheme, SecretKind, TailscaleLogin};
use clawgate_core::protocol::{AuthParams, ClientId, ClientInfo, ClientMode};
use clawgate_core::secret::Secret;
use clawgate_core::server::{PeerFacts, ServerConn, TransportFault};
use clawgate_core::time::{Now, WallTime};
use clawgate_core::transmit::Transmit;
use wire::{Received, Wire};

type Failure = Box<dyn Error + Send + Sync>;

const TOKEN: &str = "a-token-that-both-sides-know";

fn main() -> Result<(), Failure> {
    let (near, far) = UnixStream::pair()?;
    let gateway = thread::spawn(move || run_gateway(Wire::new(far)));
    let answers = run_client(Wire::new(near))?;
    gateway
        .join()
        .map_err(|_| "the gateway's thread panicked")??;
    for (method, answer) in &answers {
        println!("{method}: {:.60}...", answer.as_str());
    }
    assert_eq!(answers.len(), 3);
    Ok(())
}

/// Serves one connection to its end.
fn run_gateway(mut wire: Wire) -> Result<(), Failure> {
    const ID: ConnId = ConnId(1);
    let limits = Arc::new(Limits::default());
    let mut gateway = Gateway::new(setup(Arc::clone(&limits))?, random()?, now());
    // A socket pair has no address; what comes by it comes from this machine.
    let peer = PeerFacts::direct([127, 0, 0, 1].into());
    gateway.open(ID, peer.ip)?;
    let mut conn = ServerConn::new(limits, peer, random()?, now());
    loop {
        // Write. This blocks while the other side does not read; a host with many connections
        // would write when the socket can take more, and the machine would count what waits.
        while let Some(transmit) = conn.poll_transmit() {
            let written = transmit.buffered_len();
            if transmit == Transmit::Terminate {
                gateway.close(now(), ID);
                return Ok(());
            }
            wire.send(&transmit)?;
            conn.handle_written(written);
        }

        // Wait for a packet or the next deadline, and hand it in.
        let deadlines = [
            conn.poll_timeout().map(|(at, _)| at),
            gateway.poll_timeout().map(|(at, _)| at),
        ];
        let received = wire.receive(deadlines.into_iter().flatten().min(), conn.frame_limit())?;
        match received {
            // A failure is in the outbound queue already: an error, or a close.
            Received::Text(text) => drop(conn.handle_text(now(), text.into())),
            Received::Ping => wire.pong()?,
            Received::Pong => conn.handle_pong(),
            Received::TooLarge => conn.handle_fault(now(), TransportFault::Oversized),
            Received::Broken => conn.handle_fault(now(), TransportFault::Protocol),
            Received::Nothing => {}
            Received::Close(code, reason) => {
                wire.close(code, &reason)?;
                conn.handle_closed();
            }
            Received::End => conn.handle_closed(),
        }
        conn.handle_timeout(now());

        // Carry values between the connection and the gateway until none moves any more. Each
        // input of the gateway is followed by everything that comes of it.
        let mut work = Vec::new();
        let drain = |gateway: &mut Gateway, conn: &mut ServerConn, work: &mut Vec<_>| {
            loop {
                while let Some((_, delivery)) = gateway.poll_delivery() {
                    conn.deliver(now(), delivery);
                }
                work.extend(std::iter::from_fn(|| gateway.poll_effect()));
                // A host that keeps state writes it here, and reports it when it is on disk.
                let Some(commit) = gateway.poll_commit() else {
                    return;
                };
                gateway.handle_committed(now(), commit.id, Ok(()));
            }
        };
        gateway.handle_timeout(now());
        drain(&mut gateway, &mut conn, &mut work);
        while let Some(event) = conn.poll_event() {
            gateway.handle_event(now(), ID, event);
            drain(&mut gateway, &mut conn, &mut work);
        }
        for request in std::mem::take(&mut work) {
            let outcome = match request.effect {
                Effect::ReadProcess => EffectOutcome::Process(ProcessStats { rss_bytes: 1 << 20 }),
                // This host neither asks the network nor runs programs, and says so.
                Effect::FeedJob(..) | Effect::ReleaseLock(_) | Effect::StopJob(_) => continue,
                Effect::StartJob(_) => {
                    let failure = JobFailure {
                        reached: Reached::No,
                        message: "no jobs here".into(),
                    };
                    gateway.handle_job(now(), request.id, JobEvent::Failed(failure));
                    drain(&mut gateway, &mut conn, &mut work);
                    continue;
                }
                Effect::HoldLock(_)
                | Effect::KeepExecApprovals { .. }
                | Effect::KeepToken(_)
                | Effect::ReadConfig
                | Effect::ReadExecApprovals
                | Effect::ReadSecrets
                | Effect::ReadTranscript(_)
                | Effect::SampleHost
                | Effect::TailLog(_)
                | Effect::Whois(_) => EffectOutcome::Failed("no files".into()),
            };
            gateway.complete(now(), request.id, outcome);
            drain(&mut gateway, &mut conn, &mut work);
        }
    }
}

/// Connects, makes calls, and closes.
fn run_client(mut wire: Wire) -> Result<Vec<(String, RawJson)>, Failure> {
    let mut calls = vec!["system-presence", "status", "health"];
    let mut answers = Vec::new();
    let info = ClientInfo::new(ClientId::Cli, ClientMode::Cli, "1.0.0", "linux");
    let profile = Profile::operator(info, vec!["operator.read".into()]);
    let auth = AuthParams {
        token: Some(Secret::new(TOKEN)),
        ..AuthParams::default()
    };
    // Credentials are bound to a place. Nothing is dialled here, so any loopback one will do.
    let target = Target::new(Route::unpinned(Endpoint::local(Scheme::Ws, 1)), auth, None);
    let limits = client::Limits::default();
    let mut conn = ClientConn::new(&target, profile, limits, random()?, now());
    let mut running = String::new();
    loop {
        // What came of the last input. The next call is made when the one before is answered.
        while let Some(event) = conn.poll_event() {
            match event {
                client::Event::Answer { outcome, .. } => answers.push((running.clone(), outcome?)),
                client::Event::Ended(client::Ending::Stopped) => {}
                client::Event::Ended(ending) => return Err(ending.to_string().into()),
                client::Event::Hello(_) => {}
                client::Event::Accepted { .. }
                | client::Event::Event(_)
                | client::Event::Gap(_) => continue,
            }
            match calls.pop() {
                Some(method) if conn.stage() == Stage::Established => {
                    running = method.to_owned();
                    conn.request(now(), Call::new(method, RawJson::empty_object()))?;
                }
                Some(_) | None => conn.close(now()),
            }
        }
        while let Some(transmit) = conn.poll_transmit() {
            wire.send(&transmit)?;
        }
        if conn.stage() == Stage::Closed {
            return Ok(answers);
        }
        let max = Limits::default().max_payload;
        match wire.receive(conn.poll_timeout().map(|(at, _)| at), max)? {
            Received::Text(text) => drop(conn.handle_text(now(), text.into())),
            Received::Ping => wire.pong()?,
            Received::Pong | Received::Nothing => {}
            Received::TooLarge => conn.handle_oversized(now()),
            Received::Close(code, reason) => conn.handle_close(Some(code), &reason),
            Received::Broken | Received::End => conn.handle_disconnect(),
        }
        conn.handle_timeout(now());
    }
}

fn setup(limits: Arc<Limits>) -> io::Result<GatewaySetup> {
    Ok(GatewaySetup {
        limits,
        admission: AdmissionPolicy::new(AuthRule::Shared {
            kind: SecretKind::Token,
            secret: Some(Secret::new(TOKEN)),
            tailscale: TailscaleLogin::Off,
        }),
        host: HostInfo::new("1.0.0", "pair"),
        identity: Arc::new(DeviceIdentity::from_seed(&random()?)),
    })
}

fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    Now {
        mono: Instant::now(),
        wall: WallTime(clawgate_core::time::millis(wall.unwrap_or_default())),
    }
}

fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
