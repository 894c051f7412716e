//! Chats that go on while the disk fails, the process dies and the service loses words: in the end every
//! message has one answer, or is shown as uncertain, and each chat has its order.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use clawgate_core::store::{StoreFailure, Table};
use serde_json::Value;

use crate::{
    dice::Dice,
    world::{Fate, World},
};

const CHATS: [&str; 4] = ["a", "b", "c", "group"];

fn step(world: &mut World, dice: &mut Dice, next: &mut u64) {
    match dice.below(20) {
        0..=3 => {
            *next += 1;
            let chat = dice.pick(&CHATS);
            let text = if dice.one_in(2) {
                format!("think {chat}{next}")
            } else {
                format!("{chat}{next}|more {next}")
            };
            world.service.says(chat, &text);
        }
        4..=11 => {
            let jobs: Vec<_> = world.jobs.keys().copied().collect();
            if !jobs.is_empty() {
                let fate = match dice.below(12) {
                    0 => Fate::AnswerLost,
                    1 => Fate::Lost,
                    2 => Fate::Unreached,
                    _ => Fate::Works,
                };
                let job = dice.pick(&jobs);
                world.end(job, fate);
            }
        }
        12..=14 => {
            let by = dice.millis(0..=4_000);
            world.host.advance(by);
            world.sort();
        }
        15 => {
            world.host.disk.failure = dice.one_in(2).then_some(StoreFailure::Full);
        }
        16 => {
            if world.host.disk.waiting.is_none() {
                world.host.disk.waiting = Some(VecDeque::new());
            }
        }
        17 => {
            while !dice.one_in(4) && world.host.write() {}
            world.sort();
        }
        18 => {
            if dice.one_in(4) {
                while world.host.write() {}
                world.host.disk.waiting = None;
                world.sort();
            }
        }
        _ => {
            if dice.one_in(3) {
                world.crash();
            }
        }
    }
}

/// Everything works from now on.
fn heal(world: &mut World) {
    world.host.disk.failure = None;
    for _ in 0..20 {
        while world.host.write() {}
        world.sort();
        world.host.disk.waiting = None;
        world.host.advance(Duration::from_secs(130));
        world.sort();
        world.settle();
    }
}

fn check(world: &World, seed: u64) {
    let rows = world.host.disk.rows.iter();
    let records: Vec<Value> = rows
        .filter(|((table, _), _)| *table == Table::ChannelMessage)
        .map(|(_, document)| document.parse().unwrap())
        .collect();
    let mut by_number: BTreeMap<String, &Value> = BTreeMap::new();
    for record in &records {
        let state = record["state"].as_str().unwrap();
        assert!(
            ["sent", "uncertain", "failed"].contains(&state),
            "seed {seed}: {record} is not over"
        );
        if let Some(number) = record["way"]["in"]["remoteId"].as_str() {
            let twice = by_number.insert(number.to_owned(), record);
            assert!(twice.is_none(), "seed {seed}: {number} was kept twice");
        }
    }
    let state = world.service.state();
    for (number, written) in state.written.iter().enumerate() {
        let record = by_number.get(&number.to_string());
        let record = record.unwrap_or_else(|| panic!("seed {seed}: {written:?} was lost"));
        let text = written.text.trim_start_matches("think ");
        let parts: Vec<String> = format!("re: {text}")
            .split('|')
            .map(str::to_owned)
            .collect();
        for part in &parts {
            let told = state.told.iter().filter(|(_, told)| told == part).count();
            assert!(told <= 1, "seed {seed}: {part} was said {told} times");
            if record["state"] == "sent" {
                let gave_up = record["hops"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|hop| hop["what"].as_str().unwrap().contains("without a reply"));
                assert!(
                    told == 1 || gave_up,
                    "seed {seed}: {part} was never said: {record}, answered by {:?}",
                    records
                        .iter()
                        .find(|other| other["id"] == record["way"]["in"]["answer"])
                );
            }
        }
    }
    for chat in CHATS {
        let asked: Vec<String> = state
            .written
            .iter()
            .filter(|written| written.chat == chat)
            .flat_map(|written| {
                let text = written.text.trim_start_matches("think ");
                let parts: Vec<String> = format!("re: {text}")
                    .split('|')
                    .map(str::to_owned)
                    .collect();
                parts
            })
            .collect();
        let mut order = asked.iter();
        for (_, told) in state.told.iter().filter(|(to, told)| {
            to == chat && (told.starts_with("re: ") || told.starts_with("more "))
        }) {
            assert!(
                order.any(|asked| asked == told),
                "seed {seed}: {told} was said out of its order in {chat}: {:?}",
                state.told
            );
        }
    }
    for (key, count) in &state.keys {
        assert_eq!(*count, 1, "seed {seed}: {key} arrived {count} times");
    }
}

fn run(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut world = World::new(|_| {});
    let mut next = 0;
    for _ in 0..400 {
        step(&mut world, &mut dice, &mut next);
    }
    heal(&mut world);
    check(&world, seed);
}

#[test]
fn every_message_has_one_answer_whatever_happens() {
    if let Ok(seed) = std::env::var("CLAWGATE_SIM_SEED") {
        return run(seed.parse().unwrap());
    }
    let runs = std::env::var("CLAWGATE_SIM_RUNS").map_or(60, |runs| runs.parse().unwrap());
    for seed in 0..runs {
        let outcome = std::panic::catch_unwind(|| run(seed));
        if let Err(why) = outcome {
            eprintln!("seed {seed} failed; repeat it by CLAWGATE_SIM_SEED={seed}");
            std::panic::resume_unwind(why);
        }
    }
}
