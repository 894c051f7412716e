use proptest::prelude::*;

use crate::channel::telegram::{
    fence::Fence,
    split::{MAX_UNITS, split, units},
};

/// Whether every block of code in a piece is closed there.
fn is_balanced(piece: &str) -> bool {
    let mut open: Option<Fence> = None;
    for line in piece.split('\n') {
        open = match open {
            None => Fence::open(line),
            Some(fence) if fence.is_closed_by(line) => None,
            still => still,
        };
    }
    open.is_none()
}

fn squeeze(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[test]
fn what_fits_stays_whole() {
    assert_eq!(split("hello\n", 4_096), ["hello"]);
    assert!(split(" \n\n", 4_096).is_empty());
    let full = "x".repeat(MAX_UNITS);
    assert_eq!(split(&full, MAX_UNITS), [full.as_str()]);
    let more = "x".repeat(MAX_UNITS + 1);
    assert_eq!(split(&more, MAX_UNITS), [full.as_str(), "x"]);
    // A picture counts twice.
    let pictures = "😀".repeat(MAX_UNITS / 2 + 1);
    assert_eq!(split(&pictures, MAX_UNITS).len(), 2);
}

#[test]
fn paragraphs_come_before_lines_and_lines_before_words() {
    let text = format!(
        "{}\n\n{}\n{}",
        "a ".repeat(30),
        "b ".repeat(15),
        "c ".repeat(15)
    );
    let pieces = split(&text, 100);
    assert_eq!(pieces[0], "a ".repeat(30).trim_end());
    let text = format!("{}\n{}", "a ".repeat(30), "b ".repeat(30));
    assert_eq!(split(&text, 100)[0], "a ".repeat(30).trim_end());
    let text = "word ".repeat(50);
    for piece in split(&text, 101) {
        assert!(piece.split(' ').all(|word| word == "word"), "{piece}");
    }
}

#[test]
fn code_is_closed_and_opened_again_with_its_language() {
    let code: String = (0..20).map(|line| format!("    line {line}\n")).collect();
    let text = format!("Look:\n\n```rust\n{code}```\nDone.");
    let pieces = split(&text, 120);
    assert!(pieces.len() > 2);
    for (index, piece) in pieces.iter().enumerate() {
        assert!(is_balanced(piece), "{piece}");
        if index > 0 && index + 1 < pieces.len() {
            assert!(piece.starts_with("```rust\n    line"), "{piece}");
        }
    }
    assert!(pieces.last().unwrap().ends_with("Done."));
    let lines: Vec<&str> = pieces
        .iter()
        .flat_map(|piece| piece.lines())
        .filter(|line| line.starts_with("    "))
        .collect();
    assert_eq!(lines.join("\n") + "\n", code);
}

#[test]
fn a_block_is_never_left_empty_by_a_cut() {
    // The fence opens right before the cut, or closes right after it.
    for before in 60..100 {
        let text = format!(
            "{}\n```\ncode code\n```\n{}",
            "x".repeat(before),
            "y ".repeat(40)
        );
        for piece in split(&text, 100) {
            assert!(!piece.contains("```\n```"), "{before}: {piece}");
            assert!(is_balanced(&piece));
        }
    }
}

#[test]
fn letters_stay_with_what_belongs_to_them() {
    let family = "👨\u{200d}👩\u{200d}👧";
    for lead in 0..12 {
        let text = format!("{}{}", "x".repeat(lead), family.repeat(20));
        for piece in split(&text, 50) {
            let rest = piece.trim_start_matches('x').replace(family, "");
            assert_eq!(rest, "", "{lead}");
        }
        let text = format!("{}{}", "x".repeat(lead), "e\u{301}".repeat(60));
        for piece in split(&text, 50) {
            assert!(!piece.starts_with('\u{301}'), "{lead}");
        }
    }
}

/// A piece of a document: words, a paragraph, a block of code.
fn block() -> impl Strategy<Value = String> {
    prop_oneof![
        "([a-zé😀]{1,30} ?){1,20}",
        "([a-z]{1,9}\n){1,9}",
        "[a-z😀]{1,300}",
        Just("\n\n".to_owned()),
        "([a-z(){};]{0,12} ?){0,30}".prop_map(|code| format!("\n```rs\n{code}\n```\n")),
        "([a-z]{1,12}\n){1,40}".prop_map(|code| format!("\n~~~~\n{code}~~~~\n")),
        "([a-z]{1,12}\n){1,40}".prop_map(|code| format!("\n```\n{code}")),
    ]
}

proptest! {
    #[test]
    fn pieces_fit_keep_everything_and_close_their_code(
        blocks in proptest::collection::vec(block(), 1..12),
        limit in 100_usize..600,
    ) {
        let text = blocks.concat();
        let pieces = split(&text, limit);
        for piece in &pieces {
            prop_assert!(units(piece) <= limit, "{} units", units(piece));
            prop_assert!(!piece.trim().is_empty());
            prop_assert!(is_balanced(piece), "{piece}");
        }
        // Fences come and go at cuts, and nothing else does.
        let words = |text: &str| {
            let lines = text.split('\n').filter(|line| {
                !line.starts_with("```") && !line.starts_with("~~~")
            });
            squeeze(&lines.collect::<String>())
        };
        let kept: String = pieces.iter().map(|piece| words(piece)).collect();
        prop_assert_eq!(kept, words(&text));
    }

    #[test]
    fn any_text_is_kept(text in "[^`~]{0,600}", limit in 20_usize..200) {
        let pieces = split(&text, limit);
        prop_assert!(pieces.iter().all(|piece| units(piece) <= limit));
        prop_assert_eq!(squeeze(&pieces.concat()), squeeze(&text));
    }
}
