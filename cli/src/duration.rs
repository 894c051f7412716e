//! Lengths of time as people type them: `90s`, `10m`, `1h`, `7d`.

use std::time::Duration;

/// Reads a number and a unit.
///
/// # Errors
/// For anything else, and for nothing at all.
pub(crate) fn parse(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "expected a number and a unit, as in 90s, 10m, 1h or 7d";
    let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
    let text = text.trim();
    let (number, unit) = units
        .into_iter()
        .find_map(|(letter, seconds)| Some((text.strip_suffix(letter)?, seconds)))
        .ok_or(EXPECTED)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EXPECTED);
    }
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .ok_or("expected a length of time that is neither nothing nor without end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_nothing_is_guessed() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h", 3_600), (" 7d ", 604_800)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "10",
            "1w",
            "-1h",
            "1.5h",
            "1 h",
            "0s",
            "1hé",
            "99999999999999999d",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
