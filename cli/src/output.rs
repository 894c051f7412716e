//! Standard output and standard error. A pipe that was closed early is no failure.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;

/// For whom a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// People.
    Text,
    /// Programs (`--json`).
    Json,
}

/// Whether anybody still reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Gone,
    There,
}

/// Prints one piece of an output without an end: one JSON document on a line, or text. Nothing needs
/// to be printed any more when the reader is gone.
pub(crate) fn stream(
    format: Format,
    value: &serde_json::Value,
    text: &str,
) -> Result<Reader, Failure> {
    match format {
        Format::Json => write(format!("{value}\n").as_bytes()),
        Format::Text => write(text.as_bytes()),
    }
}

/// Prints text as it is.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    print(text.as_bytes())
}

/// Prints one JSON document: indented on a terminal, on one line elsewhere.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    let encoded = if io::stdout().is_terminal() {
        serde_json::to_vec_pretty(value)
    } else {
        serde_json::to_vec(value)
    };
    line(encoded)
}

/// Prints one JSON document on one line.
pub(crate) fn json_line<T: Serialize + ?Sized>(value: &T) -> Result<(), Failure> {
    line(serde_json::to_vec(value))
}

/// Tells the user something on standard error.
pub(crate) fn note(text: &str) {
    // There is nobody left to tell when standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Shows a failure in the wanted format.
pub(crate) fn failure(failure: &Failure, format: Format) {
    match format {
        Format::Json => {
            // A closed pipe is the reader's own wish.
            let _ = json(&serde_json::json!({ "ok": false, "error": failure.to_json() }));
        }
        Format::Text => {
            let _ = io::stderr().lock().write_all(failure.to_text().as_bytes());
        }
    }
}

fn line(encoded: Result<Vec<u8>, serde_json::Error>) -> Result<(), Failure> {
    let mut bytes = encoded.map_err(|error| broken(&error.to_string()))?;
    bytes.push(b'\n');
    print(&bytes)
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    write(bytes).map(|_| ())
}

fn write(bytes: &[u8]) -> Result<Reader, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(broken(&error.to_string())),
    }
}

fn broken(why: &str) -> Failure {
    Failure::new(
        Exit::Failed,
        "output_failed",
        format!("The result could not be written: {why}."),
        "Check the disk or the program that reads the output.",
    )
}
