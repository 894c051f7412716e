//! What holds for credentials in every world of flags, environment and config. The same promises are
//! checked by the fuzz target `credentials`; here two thousand worlds are tried in every run.

use clawgate_tests::fuzz;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_promises_hold_in_every_world(choices in proptest::collection::vec(any::<u8>(), 0..24)) {
        fuzz::credentials(&choices);
    }
}
