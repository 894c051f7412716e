//! Many lives of a gateway, each from a seed.

use std::env;

use crate::world::World;

const ROUNDS: usize = 4;
const STEPS: usize = 500;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn runs_keep_their_promises_whatever_breaks() {
    let only = number("CLAWGATE_SIM_SEED");
    let runs = number("CLAWGATE_SIM_RUNS").unwrap_or(24);
    let seeds = only.map_or(0..runs, |seed| seed..seed + 1);
    let (mut answered, mut calls, mut allowed) = (0, 0, 0);
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..ROUNDS {
            for _ in 0..STEPS {
                world.step();
            }
            world.rest();
        }
        answered += world.answered();
        let (of_world, of_those) = world.calls();
        calls += of_world;
        allowed += of_those;
    }
    let works = answered > 1_000 && calls > 100 && allowed > 10;
    assert!(
        only.is_some() || works,
        "{answered} runs, {calls} calls, {allowed} of them allowed by somebody"
    );
}
