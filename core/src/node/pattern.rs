//! Patterns of programs in an allowlist.

use super::work::Found;

/// Whether a pattern covers a program. A pattern with a slash is held against the absolute path, as
/// it was found and without links: `*` is any part of one name, `**` any number of names, `?` one
/// character. A pattern without a slash is the name of a program that was called by that name and
/// found in `PATH`.
pub(super) fn covers(pattern: &str, called: &str, found: &Found) -> bool {
    let pattern = pattern.trim();
    if pattern.is_empty() {
        return false;
    }
    if !pattern.contains('/') {
        return !called.contains('/') && matches(pattern, called);
    }
    matches(pattern, &found.path) || matches(pattern, &found.real)
}

/// Matches without going back more than once a star, so that no pattern takes long.
fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // Row by row: which ends of the text the beginning of the pattern can reach.
    let mut reach = vec![false; text.len() + 1];
    if let Some(start) = reach.first_mut() {
        *start = true;
    }
    let mut rest = pattern.as_slice();
    while let Some((&sign, after)) = rest.split_first() {
        let mut next = vec![false; text.len() + 1];
        if sign == '*' {
            let (deep, after) = match after.split_first() {
                Some(('*', after)) => (true, after),
                Some(_) | None => (false, after),
            };
            let mut open = false;
            for (at, slot) in next.iter_mut().enumerate() {
                let crossed = at.checked_sub(1).and_then(|before| text.get(before));
                open = (open && (deep || crossed != Some(&'/')))
                    || reach.get(at).copied().unwrap_or(false);
                *slot = open;
            }
            rest = after;
        } else {
            for (at, &c) in text.iter().enumerate() {
                let fits = if sign == '?' { c != '/' } else { c == sign };
                if fits
                    && reach.get(at).copied().unwrap_or(false)
                    && let Some(slot) = next.get_mut(at + 1)
                {
                    *slot = true;
                }
            }
            rest = after;
        }
        reach = next;
    }
    reach.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(path: &str, real: &str) -> Found {
        Found {
            path: path.into(),
            real: real.into(),
        }
    }

    #[test]
    fn paths_are_matched_whole() {
        for (pattern, path, fits) in [
            ("/usr/bin/git", "/usr/bin/git", true),
            ("/usr/bin/git", "/usr/bin/git2", false),
            ("/usr/bin/git", "/opt/usr/bin/git", false),
            ("/usr/bin/*", "/usr/bin/git", true),
            ("/usr/bin/*", "/usr/bin/core/git", false),
            ("/usr/**", "/usr/bin/core/git", true),
            ("/usr/**/git", "/usr/bin/core/git", true),
            ("/usr/bin/?it", "/usr/bin/git", true),
            ("/usr?bin/git", "/usr/bin/git", false),
            ("/usr/bin/GIT", "/usr/bin/git", false),
            ("**", "/usr/bin/git", false),
            ("/**", "/usr/bin/git", true),
            ("", "/usr/bin/git", false),
            (" ", "/usr/bin/git", false),
        ] {
            assert_eq!(
                covers(pattern, path, &found(path, path)),
                fits,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn a_link_is_covered_by_either_name() {
        let python = found("/usr/bin/python", "/usr/bin/python3.12");
        assert!(covers("/usr/bin/python", "python", &python));
        assert!(covers("/usr/bin/python3.12", "python", &python));
        assert!(!covers("/usr/bin/python3", "python", &python));
    }

    #[test]
    fn a_bare_name_counts_only_when_it_was_called_so() {
        let git = found("/usr/bin/git", "/usr/bin/git");
        assert!(covers("git", "git", &git));
        assert!(!covers("git", "/tmp/git", &found("/tmp/git", "/tmp/git")));
        assert!(!covers("git", "./git", &found("/tmp/git", "/tmp/git")));
    }

    proptest! {
        #[test]
        fn a_text_without_signs_covers_itself_alone(a in "/[a-z/]{0,12}", b in "/[a-z/]{0,12}") {
            prop_assert_eq!(matches(&a, &b), a == b);
            prop_assert!(matches("/**", &a));
        }

        #[test]
        fn no_pattern_takes_long(pattern in "[*a?/]{0,60}", text in "[a/]{0,200}") {
            matches(&pattern, &text);
        }
    }
}
