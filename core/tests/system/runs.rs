//! The runs: a reference scenario with trouble at each of its steps, and random ones.

use std::{collections::BTreeSet, time::Duration};

use clawgate_core::{client, client::CallDeadline, limits::Limits};

use crate::{
    cast::{self, Card},
    dice::Dice,
    disk::DiskManner,
    script::{Hit, Op, Trouble, raw_connect, raw_line},
    work::Ask,
    world::{Effects, Setting, World},
};

const ADMIN: usize = 0;
const READER: usize = 1;
const NODE: usize = 2;
const PAIRER: usize = 3;
const CALLER: usize = 4;

/// When the reference scenario has shown all that it has to show.
const REFERENCE_END: Duration = Duration::from_millis(320);

fn reference(name: String) -> World {
    let cast = vec![
        cast::admin(),
        cast::reader(),
        cast::node(),
        cast::pairer(),
        cast::caller(),
    ];
    // Small parts, so that there are steps within a message.
    let setting = Setting {
        part: 700,
        ..Setting::default()
    };
    let mut world = World::new(name, 1, setting, cast);
    let call = |client, ask| Op::Call(client, ask, CallDeadline::Default);
    for (at, op) in [
        (45, Op::Dial(CALLER)),
        (50, call(ADMIN, Ask::SystemEvent(1))),
        (55, call(READER, Ask::Status)),
        (55, call(READER, Ask::Channel(7))),
        (60, call(NODE, Ask::Health)),
        (60, call(NODE, Ask::Status)),
        (70, call(PAIRER, Ask::DevicePairs)),
        (70, call(PAIRER, Ask::CronPage(3))),
        (75, call(CALLER, Ask::Wake)),
        (75, call(CALLER, Ask::LogTail(4))),
        (80, call(ADMIN, Ask::Unknown(5))),
        (80, call(ADMIN, Ask::Config)),
        (100, Op::Leave(CALLER)),
        (200, call(READER, Ask::LogTail(6))),
        (200, call(ADMIN, Ask::SystemEvent(2))),
    ] {
        world.at(at, op);
    }
    world
}

/// Runs the reference scenario with trouble right before one step, and back to peace. Gives the
/// number of steps, or nothing when the trouble had nothing to hit.
fn reference_with(step: usize, trouble: impl Fn(&World) -> Option<Trouble>) -> Option<usize> {
    let mut world = reference(format!("reference scenario, trouble before step {step}"));
    let end = world.now.mono + REFERENCE_END;
    while world.steps < step {
        if !world.step(end) {
            return None;
        }
    }
    let trouble = trouble(&world)?;
    world.make(trouble);
    while world.step(end) {}
    let steps = world.steps;
    world.make_peace();
    Some(steps)
}

fn reference_steps() -> usize {
    let mut world = reference("reference scenario".into());
    world.run_for(REFERENCE_END);
    world.steps
}

/// Makes trouble before each step of the reference scenario, one run each.
fn at_each_step(trouble: impl Fn(&World) -> Option<Trouble>) {
    let steps = reference_steps();
    let hits = (0..steps)
        .filter(|step| reference_with(*step, &trouble).is_some())
        .count();
    assert!(hits > 20, "the trouble hit {hits} of {steps} steps");
}

#[test]
fn the_reference_scenario_does_what_it_should() {
    let mut world = reference("reference scenario".into());
    world.run_for(REFERENCE_END);
    let answered: Vec<usize> = world
        .clients
        .iter()
        .map(|client| client.calls.answered)
        .collect();
    assert_eq!(answered, [4, 3, 2, 2, 2]);
    assert!(world.clients.iter().all(|client| client.calls.failed == 0));
    world.make_peace();
    assert!(world.clients.iter().all(|client| client.hellos == 1));
}

#[test]
fn links_may_be_cut_before_every_step() {
    at_each_step(|_| Some(Trouble::Reset(Hit::All)));
}

#[test]
fn the_link_that_is_in_use_may_be_cut_before_every_step() {
    at_each_step(|world| {
        world
            .next_touches()
            .map(|conn| Trouble::Reset(Hit::Conn(conn)))
    });
}

#[test]
fn either_direction_may_end_before_every_step() {
    at_each_step(|world| {
        let conn = world.next_touches()?;
        Some(Trouble::HalfToClient(Hit::Conn(conn)))
    });
    at_each_step(|world| {
        let conn = world.next_touches()?;
        Some(Trouble::HalfToServer(Hit::Conn(conn)))
    });
}

#[test]
fn links_may_go_dead_before_every_step() {
    at_each_step(|_| Some(Trouble::Lose(Hit::All)));
}

#[test]
fn either_direction_may_go_dead_before_every_step() {
    at_each_step(|world| {
        let conn = world.next_touches()?;
        Some(Trouble::LoseToClient(Hit::Conn(conn)))
    });
    at_each_step(|world| {
        let conn = world.next_touches()?;
        Some(Trouble::LoseToServer(Hit::Conn(conn)))
    });
}

#[test]
fn links_may_stall_before_every_step() {
    let time = Duration::from_secs(20);
    at_each_step(|_| Some(Trouble::StallReader(Hit::All, time)));
}

#[test]
fn the_gateway_may_crash_before_every_step() {
    let time = Duration::from_millis(1_500);
    at_each_step(|_| Some(Trouble::Crash(time)));
}

#[test]
fn the_gateway_may_be_stopped_before_every_step() {
    let time = Duration::from_millis(700);
    at_each_step(|_| Some(Trouble::Shutdown(time)));
}

/// Limits that a few clients reach.
fn tight() -> Setting {
    Setting {
        server: Limits {
            max_payload: 3_000,
            max_buffered_bytes: 8_000,
            max_in_flight: 3,
            max_handshake_frames: 4,
            handshake: Duration::from_secs(3),
            tick_interval: Duration::from_secs(2),
            ping_interval: Duration::from_secs(5),
            drain: Duration::from_secs(1),
            max_connections: 14,
            max_pre_auth_loopback: 3,
            max_pre_auth_per_ip: 2,
            max_presence: 6,
            presence_ttl: Duration::from_secs(20),
            max_dedupe: 3,
            dedupe_ttl: Duration::from_secs(5),
            effect: Duration::from_secs(2),
            max_system_events: 3,
            ..Limits::default()
        },
        client: client::Limits {
            challenge: Duration::from_secs(4),
            connect: Duration::from_secs(4),
            request: Duration::from_secs(6),
            max_pending: 4,
            max_buffered_bytes: 3_000,
            ..client::Limits::default()
        },
        delay: 0..=100,
        window: 2_000,
        part: 500,
        ..Setting::default()
    }
}

fn any_setting(dice: &mut Dice) -> Setting {
    let mut setting = if dice.one_in(2) {
        tight()
    } else {
        Setting {
            delay: dice.pick(&[0..=0, 1..=40, 5..=800]),
            ..Setting::default()
        }
    };
    setting.host_delay = dice.pick(&[0, 0, 30, 400]);
    setting.effects = dice.pick(&[Effects::Honest, Effects::Moody]);
    setting.disk = dice.pick(&[DiskManner::Prompt, DiskManner::Slow, DiskManner::Full]);
    setting.shuffled = true;
    setting
}

fn any_trouble(dice: &mut Dice, clients: usize) -> Trouble {
    let hit = if dice.one_in(3) {
        Hit::All
    } else {
        Hit::Client(dice.below(clients))
    };
    let time = dice.millis(0..=20_000);
    match dice.below(13) {
        0 => Trouble::Crash(time),
        1 => Trouble::Deaf(time),
        2 => Trouble::HalfToClient(hit),
        3 => Trouble::HalfToServer(hit),
        4 => Trouble::Lose(hit),
        5 => Trouble::LoseToClient(hit),
        6 => Trouble::LoseToServer(hit),
        7 => Trouble::Oversized(dice.below(clients)),
        8 => Trouble::Shutdown(time),
        9 => Trouble::StallReader(hit, time * 3),
        10 => Trouble::StallWriter(hit, time * 3),
        11 => Trouble::WallClock(dice.pick(&[-600_000, -1_000, 1_000, 600_000])),
        _ => Trouble::Reset(hit),
    }
}

/// Something that happens, or a few things in a row, with their milliseconds.
fn any_ops(dice: &mut Dice, cast: &[Card]) -> Vec<(u64, Op)> {
    let client = dice.below(cast.len());
    let (admin, raw) = (0, cast.len() - 1);
    let count = dice.next() % 16;
    let call = |dice: &mut Dice, client| {
        let deadline = dice.pick(&[
            CallDeadline::Default,
            CallDeadline::Default,
            CallDeadline::Unbounded,
            CallDeadline::After(Duration::from_millis(30)),
            CallDeadline::After(Duration::ZERO),
        ]);
        Op::Call(client, Ask::any(dice), deadline)
    };
    let report = |dice: &mut Dice| {
        let ask = Ask::SystemEvent(dice.next() % 1_000_000_000);
        Op::Call(admin, ask, CallDeadline::Default)
    };
    let hand = |dice: &mut Dice| {
        let mode = cast[raw].profile.client.mode;
        Op::Say(raw, raw_connect(mode, dice.pick(&[3, 4, 4, 4])))
    };
    let stall = Duration::from_secs(4);
    match dice.below(28) {
        0 => vec![(0, Op::Cancel(client))],
        1 => vec![(0, Op::Dial(client))],
        2 => vec![(0, Op::Leave(client))],
        3 => vec![(0, Op::Resume(client))],
        4 | 5 => vec![(0, Op::Trouble(any_trouble(dice, cast.len())))],
        6 => vec![(0, Op::Say(raw, raw_line(dice)))],
        7 | 8 => {
            // Nobody waits for answers here, not even for the hello.
            let lines = (0..count)
                .map(|_| (300, Op::Say(raw, raw_line(dice))))
                .collect();
            [vec![(0, Op::Dial(raw)), (300, hand(dice))], lines].concat()
        }
        9 => (0..count).map(|_| (0, call(dice, client))).collect(),
        10 => {
            let trouble = Op::Trouble(Trouble::StallReader(Hit::All, stall));
            let reports = (0..count).map(|place| (150 * place, report(dice)));
            reports.chain([(0, trouble)]).collect()
        }
        11 => {
            let trouble = Op::Trouble(Trouble::StallWriter(Hit::Client(admin), stall));
            let reports = (0..count).map(|_| (1, report(dice)));
            reports.chain([(0, trouble)]).collect()
        }
        12 => (0..count)
            .map(|place| (500 * place, Op::Resume(client)))
            .collect(),
        13 => {
            let trouble = Op::Trouble(Trouble::Shutdown(stall));
            let calls = (0..count).map(|place| (50 * place, call(dice, client)));
            calls.chain([(200, trouble)]).collect()
        }
        _ => vec![(0, call(dice, client))],
    }
}

fn random_run(seed: u64) -> BTreeSet<String> {
    let mut dice = Dice::new(seed);
    let setting = any_setting(&mut dice);
    let mut cast = vec![
        cast::admin(),
        cast::reader(),
        cast::twin(),
        cast::node(),
        cast::pairer(),
        cast::guest(),
        cast::stranger(),
        cast::unpaired(),
        cast::caller(),
        dice.pick(&[cast::raw(), cast::raw_probe()]),
    ];
    for absent in [8, 7, 6, 5, 4, 3, 2] {
        if dice.one_in(3) {
            cast.remove(absent);
        }
    }
    let mut world = World::new(
        format!("CLAWGATE_SIM_SEED={seed}"),
        seed,
        setting,
        cast.clone(),
    );
    let pace = dice.pick(&[20, 200, 3_000]);
    let mut at = 0;
    for _ in 0..dice.below(150) {
        at += dice.next() % pace;
        for (after, op) in any_ops(&mut dice, &cast) {
            world.at(at + after, op);
        }
    }
    world.run_for(Duration::from_millis(at));
    world.make_peace();
    std::mem::take(&mut world.seen)
}

/// What a hundred random runs have to show, or they do not try hard enough.
const SIGHTS: [&str; 25] = [
    "BufferFull",
    "NotConnected",
    "TooBig",
    "TooManyPending",
    "answer: gateway is stopping",
    "answer: gateway stopped before",
    "answer: the gateway's host gave an answer of the wrong kind",
    "answer: the host took too long",
    "answer: too many calls in flight",
    "call lost",
    "call timed out",
    "client: peer: connect timeout",
    "commit lost",
    "client: peer: tick timeout",
    "device signature expired",
    "dial timed out",
    "event dropped",
    "gap",
    "gateway: peer: handshake timeout",
    "gateway: peer: heartbeat timeout",
    "gateway: peer: payload too large",
    "gateway: peer: slow consumer",
    "gateway: peer: too many pending handshake frames",
    "too many failed attempts",
    "upgrade refused",
];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} must be a number, not '{text}'")))
}

#[test]
fn random_runs_come_to_peace() {
    if let Some(seed) = number("CLAWGATE_SIM_SEED") {
        random_run(seed);
        return;
    }
    let runs = number("CLAWGATE_SIM_RUNS").unwrap_or(40);
    let seen: BTreeSet<String> = (0..runs).flat_map(random_run).collect();
    for sight in SIGHTS {
        let shown = runs < 100 || seen.iter().any(|seen| seen.contains(sight));
        assert!(shown, "no run shows '{sight}'");
    }
}
