//! Lengths of time as they are typed: `10m`, `90s`, `2h`, `1d`, `500ms`, or `0`.

use std::time::Duration;

/// Reads a whole number with a unit.
///
/// # Errors
/// For anything else.
pub(crate) fn parse(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "expected a number with ms, s, m, h or d, such as 10m";
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..) {
        Some("ms") => 1,
        Some("s") => 1_000,
        Some("m") => 60_000,
        Some("h") => 3_600_000,
        Some("d") => 86_400_000,
        Some(_) | None => return Err(EXPECTED),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .parse::<u64>()
        .ok()
        .filter(|_| plain)
        .and_then(|number| number.checked_mul(unit))
        .map(Duration::from_millis)
        .ok_or(EXPECTED)
}

/// As [`parse`], for times that must not be nothing.
///
/// # Errors
/// For no time at all, too.
pub(crate) fn parse_some(text: &str) -> Result<Duration, &'static str> {
    match parse(text)? {
        Duration::ZERO => Err("expected a time longer than nothing, such as 10m"),
        some => Ok(some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("90s", 90_000),
            (" 10m ", 600_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in [
            "",
            "10",
            "m",
            "-1m",
            "+1m",
            "1.5h",
            "1 m",
            "1w",
            "99999999999999999d",
            "ä",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse_some("0s").is_err());
    }
}
