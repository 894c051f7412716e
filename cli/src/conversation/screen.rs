//! How a conversation looks: replies on standard output, everything else on standard error. What
//! agents and nodes say cannot steer the terminal.

use std::io::{self, IsTerminal, Write};

use super::reply::Piece;
use super::wire::{Entry, What};
use crate::failure::Failure;
use crate::{output, text};

/// Characters of a line about a tool.
const TOOL: usize = 160;

/// The terminal, or what stands in its place.
#[derive(Debug)]
pub(crate) struct Screen {
    /// Whether lines are typed by a person who sees what is printed.
    pub(crate) is_interactive: bool,
    has_colour: bool,
    /// Whether a reply has begun that has not ended its line.
    is_open: bool,
}

impl Screen {
    /// Looks at where input comes from and where output goes to.
    pub(crate) fn new() -> Self {
        let has_colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            is_interactive: io::stdin().is_terminal() && io::stdout().is_terminal(),
            has_colour,
            is_open: false,
        }
    }

    /// Shows a part of a reply.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn piece(&mut self, piece: &Piece) -> Result<(), Failure> {
        let part = match piece {
            Piece::More(part) => part,
            Piece::Instead(part) => {
                self.close_line()?;
                part
            }
        };
        let part = text::lines(part);
        if !part.is_empty() {
            self.is_open = !part.ends_with('\n');
            output::text(&part)?;
        }
        Ok(())
    }

    /// Ends the line of a reply.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn close_line(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.is_open) {
            output::text("\n")?;
        }
        Ok(())
    }

    /// Tells something besides, in one line.
    pub(crate) fn note(&mut self, words: &str) {
        self.aside(&text::plain(words));
    }

    /// Tells what an agent does with nodes.
    pub(crate) fn tool(&mut self, what: &What) {
        let line = match what {
            What::ToolCalled { name, args } => format!("  → {name} {args}"),
            What::ToolDone {
                name,
                result,
                is_error: false,
            } => format!("  ← {name} {result}"),
            What::ToolDone { name, result, .. } => format!("  ← {name} failed: {result}"),
            What::Text(_) | What::End(_) | What::Kept(_) => return,
        };
        let line = text::short(&line, TOOL);
        self.aside(&format!("  {line}"));
    }

    /// Shows a message of the past.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn entry(&mut self, entry: &Entry) -> Result<(), Failure> {
        if entry.role == "toolResult" {
            let name = entry.tool.as_deref().unwrap_or("tool");
            let line = format!("← {name} {}", entry.text);
            self.aside(&format!("  {}", text::short(&line, TOOL)));
            return Ok(());
        }
        self.close_line()?;
        output::text(&said(entry))
    }

    /// Shows that a line can be typed.
    pub(crate) fn prompt(&mut self) {
        if self.is_interactive {
            // Nobody is left to tell when standard output is closed.
            let _ = self.close_line();
            let _ = output::text("> ");
        }
    }

    fn aside(&mut self, line: &str) {
        if self.is_interactive {
            let _ = self.close_line();
        }
        let line = if self.has_colour {
            format!("\u{1b}[2m{line}\u{1b}[0m")
        } else {
            line.to_owned()
        };
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

/// A message of the past, with who said it.
pub(crate) fn said(entry: &Entry) -> String {
    let who = match entry.role.as_str() {
        "user" => "you",
        "assistant" => "agent",
        "toolResult" => "node",
        _ => "gateway",
    };
    let mut words = String::new();
    for (number, line) in text::lines(&entry.text).lines().enumerate() {
        let start = if number == 0 { who } else { "" };
        words.push_str(&format!("{start:<8}{line}\n"));
    }
    if words.is_empty() {
        words = format!("{who}\n");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_several_lines_stand_under_each_other() {
        let entry = |role: &str, text: &str| Entry {
            role: role.into(),
            text: text.into(),
            run: None,
            tool: None,
            id: None,
        };
        assert_eq!(said(&entry("user", "a\nb")), "you     a\n        b\n");
        assert_eq!(said(&entry("assistant", "x\u{1b}[1m")), "agent   x[1m\n");
        assert_eq!(said(&entry("custom", "")), "gateway\n");
    }
}
