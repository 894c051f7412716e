//! The terminal while a page is shown on it: everything is as before when this is dropped.

use std::io::{self, Write};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::Print;
use crossterm::terminal::{
    self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use crossterm::{execute, queue};

/// What was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing of interest.
    Nothing,
    /// The page is another size.
    Resized,
    /// To end.
    Quit,
}

/// A terminal in the hands of this program.
#[derive(Debug)]
pub(super) struct Screen(());

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        enable_raw_mode()?;
        // From here on, a failure puts everything back.
        let screen = Self(());
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// Columns and lines.
    pub(super) fn size() -> (usize, usize) {
        // Some terminals do not say.
        let known = terminal::size().ok().filter(|(columns, _)| *columns > 0);
        let (columns, lines) = known.unwrap_or((80, 24));
        (usize::from(columns), usize::from(lines))
    }

    /// Shows these lines, as many as there is room for, over a last one.
    pub(super) fn show(&self, lines: &[String], last: &str) -> io::Result<()> {
        let (columns, rows) = Self::size();
        let room = rows.saturating_sub(1);
        let mut out = io::stdout().lock();
        queue!(out, MoveTo(0, 0))?;
        let left_out = lines.len().saturating_sub(room);
        for line in lines.iter().take(room) {
            queue!(
                out,
                Print(line),
                Clear(ClearType::UntilNewLine),
                Print("\r\n")
            )?;
        }
        let more = match left_out {
            0 => String::new(),
            count => format!("{count} more lines; "),
        };
        let last: String = format!("{more}{last}").chars().take(columns).collect();
        queue!(out, Print(last), Clear(ClearType::FromCursorDown))?;
        out.flush()
    }

    /// Waits for a key.
    pub(super) fn typed(&self, at_most: Duration) -> io::Result<Typed> {
        if !event::poll(at_most)? {
            return Ok(Typed::Nothing);
        }
        Ok(match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
                let ends = matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc);
                let breaks = with_control && matches!(key.code, KeyCode::Char('c' | 'd'));
                if ends || breaks {
                    Typed::Quit
                } else {
                    Typed::Nothing
                }
            }
            Event::Resize(..) => Typed::Resized,
            Event::FocusGained | Event::FocusLost | Event::Key(_) | Event::Mouse(_) => {
                Typed::Nothing
            }
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nothing else to try.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}
