//! `auth explain`.

use clawgate_core::credentials::{Explanation, Surface};
use serde_json::json;

use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::target::{self, TargetFlags, shown_text, target_text};
use crate::text::Sheet;

pub(super) fn explain(
    surface: Surface,
    flags: &TargetFlags,
    context: &Context,
) -> Result<Exit, Failure> {
    let resolution = match target::explain(surface, flags, context) {
        Ok(resolution) => resolution,
        Err(failure) => return without_config(&failure, context.format),
    };
    let why = resolution.explanation;
    let failure = resolution
        .outcome
        .as_ref()
        .err()
        .map(|error| target::failure(error, &why));
    match context.format {
        Format::Json => output::json(&why)?,
        Format::Text => output::text(&describe(&why, failure.as_ref()))?,
    }
    Ok(failure.map_or(Exit::Ok, |failure| failure.exit))
}

/// The same shape when there is no config to explain.
fn without_config(failure: &Failure, format: Format) -> Result<Exit, Failure> {
    match format {
        Format::Json => {
            let none = json!({ "present": false, "source": "none", "id": null });
            output::json(&json!({
                "url": null,
                "urlSource": null,
                "mode": null,
                "token": none,
                "password": none,
                "tlsTrust": null,
                "tlsFingerprints": [],
                "tlsPinSource": null,
                "edgeHeaders": [],
                "skipped": [],
                "references": [],
                "warnings": [],
                "error": failure.to_json(),
            }))?;
            Ok(failure.exit)
        }
        Format::Text => Err(failure.clone()),
    }
}

fn describe(why: &Explanation, failure: Option<&Failure>) -> String {
    let mut sheet = Sheet::default();
    sheet.line("Target", target_text(why));
    sheet.line("Mode", why.mode);
    for (name, kind, shown) in [
        ("Token", "token", &why.token),
        ("Password", "password", &why.password),
    ] {
        sheet.line(name, shown_text(shown));
        for skipped in why.skipped.iter().filter(|skipped| skipped.kind == kind) {
            sheet.line("", format!("not {}: {}", skipped.source, skipped.why));
        }
    }
    if let Some(trust) = why.tls_trust
        && why.tls_fingerprints.is_empty()
    {
        sheet.line("Certificate", trust);
    }
    for pin in &why.tls_fingerprints {
        let source = why.tls_pin_source.unwrap_or_default();
        sheet.line("Pin", format!("sha256:{pin} (from {source})"));
    }
    if !why.edge_headers.is_empty() {
        sheet.line("Headers", why.edge_headers.join(", "));
    }
    for reference in &why.references {
        sheet.line("Reference", reference.describe());
    }
    for warning in &why.warnings {
        sheet.line("Warning", &warning.message);
    }
    if let Some(failure) = failure {
        sheet.line("Error", &failure.message);
        sheet.line("Next", &failure.next);
    }
    sheet.to_text()
}
