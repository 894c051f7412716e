//! Text for people.

use std::fmt::Write as _;
use std::time::Duration;

/// The text without characters that steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c => c,
        })
        .filter(|c| !c.is_control())
        .collect()
}

/// The same for text of several lines, which stay.
pub(crate) fn lines(text: &str) -> String {
    text.chars()
        .filter(|c| matches!(c, '\n' | '\t') || !c.is_control())
        .collect()
}

/// The beginning of a text in one line, so long at most.
pub(crate) fn short(text: &str, chars: usize) -> String {
    let text = plain(text);
    let text = text.trim();
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let cut: String = text.chars().take(chars.saturating_sub(1)).collect();
    format!("{cut}…")
}

/// The text with a capital at its start.
pub(crate) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// A duration with its two greatest units: `0.4 ms`, `12 ms`, `1.5 s`, `3 min 20 s`, `2 d 4 h`.
pub(crate) fn duration(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    let seconds = duration.as_secs();
    let pair = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        small => format!("{big} {big_unit} {small} {small_unit}"),
    };
    if millis < 9.95 {
        format!("{millis:.1} ms")
    } else if millis < 999.5 {
        format!("{millis:.0} ms")
    } else if seconds < 10 {
        format!("{:.1} s", duration.as_secs_f64())
    } else if seconds < 60 {
        format!("{seconds} s")
    } else if seconds < 3_600 {
        pair(seconds / 60, "min", seconds % 60, "s")
    } else if seconds < 86_400 {
        pair(seconds / 3_600, "h", seconds % 3_600 / 60, "min")
    } else {
        pair(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h")
    }
}

/// Milliseconds with three digits after the point, for JSON.
pub(crate) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// Names and values in two columns.
#[derive(Debug, Default)]
pub(crate) struct Sheet(Vec<(String, String)>);

impl Sheet {
    /// Adds a line. Control characters are taken out of the value.
    pub(crate) fn line(&mut self, name: impl Into<String>, value: impl AsRef<str>) {
        self.0.push((name.into(), plain(value.as_ref())));
    }

    /// All lines, the values aligned.
    pub(crate) fn to_text(&self) -> String {
        let width = self
            .0
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or_default();
        let mut text = String::new();
        for (name, value) in &self.0 {
            // Writing into a string does not fail.
            let _ = writeln!(text, "{name:<width$}  {value}");
        }
        text
    }
}

/// Rows under a head, in columns.
#[derive(Debug)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    /// A table with these column names.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|name| (*name).to_owned()).collect()])
    }

    /// Adds a row. Control characters are taken out, and nothing is shown as `-`.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = cells.into_iter().map(|cell| match plain(&cell).trim() {
            "" => "-".to_owned(),
            cell => cell.to_owned(),
        });
        self.0.push(shown.collect());
    }

    /// All rows, the columns aligned.
    pub(crate) fn to_text(&self) -> String {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).filter_map(width).collect();
        let mut text = String::new();
        for row in &self.0 {
            let line: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            text.push_str(line.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_people_say_them() {
        for (millis, shown) in [
            (0.0, "0.0 ms"),
            (0.42, "0.4 ms"),
            (9.96, "10 ms"),
            (250.0, "250 ms"),
            (999.7, "1.0 s"),
            (1500.0, "1.5 s"),
            (59_000.0, "59 s"),
            (60_000.0, "1 min"),
            (200_000.0, "3 min 20 s"),
            (3_660_000.0, "1 h 1 min"),
            (187_200_000.0, "2 d 4 h"),
        ] {
            assert_eq!(duration(Duration::from_secs_f64(millis / 1000.0)), shown);
        }
    }

    #[test]
    fn texts_of_others_keep_their_lines_and_steer_nothing() {
        assert_eq!(lines("a\n\tb\u{1b}[2J\r\u{9b}c"), "a\n\tb[2Jc");
        assert_eq!(short(" a\nb ", 3), "a b");
        assert_eq!(short("abcd", 3), "ab…");
    }

    #[test]
    fn sheets_align_and_stay_on_their_lines() {
        let mut sheet = Sheet::default();
        sheet.line("a", "x\ny");
        sheet.line("long", "z\u{1b}[1m");
        assert_eq!(sheet.to_text(), "a     x y\nlong  z[1m\n");
    }

    #[test]
    fn tables_align_and_cannot_be_broken_out_of() {
        let mut table = Table::new(&["ID", "NAME"]);
        table.row(["a".to_owned(), "x\n\u{1b}[1my".to_owned()]);
        table.row(["long".to_owned(), " ".to_owned()]);
        assert_eq!(table.to_text(), "ID    NAME\na     x [1my\nlong  -\n");
    }
}
