//! Where the installed service and this shell have gone apart.

use std::fs;
use std::path::Path;

use clawgate_core::config::paths::Locations;
use serde::Serialize;

use super::describe::{self, Choices};
use crate::context::Context;
use crate::service::{EnvFile, Manager};

/// One difference, and what would end it. Secrets are told apart by their ids only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Drift {
    /// A stable name.
    pub(crate) code: &'static str,
    /// In words.
    pub(crate) message: String,
}

impl Drift {
    fn new(code: &'static str, message: String) -> Self {
        Self { code, message }
    }
}

/// All differences.
pub(super) fn find(
    manager: &Manager,
    main_file: &Path,
    context: &Context,
    places: &Locations,
) -> Vec<Drift> {
    let mut drifts = Vec::new();
    let choices = Choices::read(places);
    let file = describe::read_env_file(places).unwrap_or_else(|why| {
        drifts.push(Drift::new("environment_file_unreadable", why));
        EnvFile::default()
    });
    let planned = describe::plan(context, places, &choices, &file)
        .inspect_err(|error| {
            let (what, _) = error.what_and_next();
            drifts.push(Drift::new(
                "would_not_start",
                format!("as a service the gateway would not start now: {what}"),
            ));
        })
        .ok();
    let service = describe::describe(
        manager.kind(),
        context,
        places,
        &choices,
        planned.as_ref(),
        &file,
    );
    match service.and_then(|service| manager.files(&service)) {
        // What a package brought is the package's matter.
        Ok(files) => {
            let own = files.first().is_some_and(|file| file.path == main_file);
            for file in files.into_iter().filter(|_| own) {
                let there = fs::read_to_string(&file.path).unwrap_or_default();
                if there != file.text.expose() {
                    drifts.push(Drift::new(
                        "unit_differs",
                        format!(
                            "{} is not what `clawgate gateway install` would write now{}",
                            file.path.display(),
                            difference(&there, file.text.expose())
                        ),
                    ));
                }
            }
        }
        Err(error) => drifts.push(Drift::new("unit_differs", error.to_string())),
    }
    for name in ["OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_PASSWORD"] {
        let here = context.env.non_blank(name);
        let there = file
            .get(name)
            .map(|secret| secret.expose().trim().to_owned());
        let words = match (here, there.as_deref().filter(|text| !text.is_empty())) {
            (Some(here), Some(there)) if here != there => "differ",
            (Some(_), None) => "is set in this shell only",
            (None, Some(_)) => "is set for the service only",
            (Some(_), Some(_)) | (None, None) => continue,
        };
        let message = if words == "differ" {
            format!("{name} of this shell and of the service differ")
        } else {
            format!("{name} {words}")
        };
        drifts.push(Drift::new("secret_differs", message));
    }
    drifts
}

/// The first line that differs, as `(has A, would be B)`.
fn difference(there: &str, wanted: &str) -> String {
    let mut have: Vec<&str> = there.lines().collect();
    let mut want: Vec<&str> = wanted.lines().collect();
    let (old, new) = (have.clone(), want.clone());
    have.retain(|line| !new.contains(line));
    want.retain(|line| !old.contains(line));
    match (have.first(), want.first()) {
        (Some(have), Some(want)) => format!(" (has {have}, would be {want})"),
        (Some(have), None) => format!(" (has {have})"),
        (None, Some(want)) => format!(" (lacks {want})"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(difference("a\nb\n", "a\nc\n"), " (has b, would be c)");
        assert_eq!(difference("a\n", "a\nc\n"), " (lacks c)");
        assert_eq!(difference("a\nb\n", "a\n"), " (has b)");
        assert_eq!(difference("a\n", "a\n"), "");
    }
}
