//! Replays the corpora of the fuzz targets, so that whatever a fuzzer has found stays fixed.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clawgate_tests::fuzz::TARGETS;

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn names_in(dir: &str) -> BTreeSet<String> {
    fs::read_dir(fuzz_dir().join(dir))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names_in("fuzz_targets"), targets);
    assert_eq!(names_in("corpus"), targets);
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    for target in targets {
        let line = format!("name = \"{target}\"");
        assert!(
            manifest.contains(&line),
            "{target} is missing in fuzz/Cargo.toml"
        );
    }
}

#[test]
fn every_input_of_the_corpora_passes() {
    for (name, body) in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(fuzz_dir().join("corpus").join(name)).unwrap() {
            let path = entry.unwrap().path();
            // Shown only if the body panics.
            println!("replaying {}", path.display());
            body(&fs::read(&path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus of {name} is empty");
        body(b"");
    }
}
