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
    let (mut answered, mut calls) = (0, 0);
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..ROUNDS {
            for _ in 0..STEPS {
                world.step();
            }
            world.rest();
        }
        answered += world.answered();
        calls += world.calls();
    }
    assert!(
        only.is_some() || (answered > 0 && calls > 0),
        "something works"
    );
}
