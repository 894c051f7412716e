//! `pins list` and `pins remove`.

use clawgate_core::policy::PinPlace;
use serde_json::json;

use crate::args::PinsCommand;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::pins::PinFile;
use crate::text::Sheet;

pub(super) fn run(command: PinsCommand, context: &Context) -> Result<Exit, Failure> {
    let file = PinFile::of(context.locations()?);
    match command {
        PinsCommand::List => list(&file, context.format),
        PinsCommand::Remove { place } => remove(&file, &place, context.format),
    }
}

fn list(file: &PinFile, format: Format) -> Result<Exit, Failure> {
    let book = file.read()?;
    match format {
        Format::Json => {
            let pins: Vec<_> = book
                .iter()
                .map(|(place, pin)| {
                    json!({
                        "place": place, "sha256": pin.sha256, "pinnedAtMs": pin.pinned_at_ms,
                    })
                })
                .collect();
            output::json(&json!({
                "ok": true, "file": file.path().to_string_lossy(), "pins": pins,
            }))?;
        }
        Format::Text if book.iter().next().is_none() => {
            output::text("no certificate is pinned\n")?;
        }
        Format::Text => {
            let mut sheet = Sheet::default();
            for (place, pin) in book.iter() {
                let since = pin.pinned_at_ms.to_rfc3339();
                sheet.line(
                    place.to_string(),
                    format!("sha256:{}  since {since}", pin.sha256),
                );
            }
            output::text(&sheet.to_text())?;
        }
    }
    Ok(Exit::Ok)
}

fn remove(file: &PinFile, place: &PinPlace, format: Format) -> Result<Exit, Failure> {
    let Some(pin) = file.remove(place)? else {
        return Err(Failure::new(
            Exit::Failed,
            "pin_not_found",
            format!("No certificate is pinned for {place}."),
            "`clawgate pins list` shows all pins.",
        ));
    };
    match format {
        Format::Json => output::json(&json!({
            "ok": true, "removed": { "place": place, "sha256": pin.sha256 },
        }))?,
        Format::Text => output::text(&format!("removed {place}  sha256:{}\n", pin.sha256))?,
    }
    Ok(Exit::Ok)
}
