//! The parameters and results of `system.which`, `system.execApprovals.set` and `system.notify`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    approvals::Approvals,
    system_run::{Unusable, parse, written},
    work::Looked,
};

/// Reads `system.which`.
pub(super) fn which(params: Option<&str>) -> Result<Vec<String>, Unusable> {
    const MOST: usize = 256;
    #[derive(Deserialize)]
    struct Which {
        #[serde(default)]
        bins: Option<Vec<Value>>,
    }
    let Which { bins } = parse(params)?;
    let bins = bins.ok_or_else(|| Unusable::new("bins required"))?;
    if bins.len() > MOST {
        return Err(Unusable::new(format!("more than {MOST} bins")));
    }
    let names = bins.iter().filter_map(Value::as_str).map(str::trim);
    // A path is not looked up: it would tell which files there are.
    let plain = |name: &&str| !name.is_empty() && !name.contains(['/', '\\', '\0']);
    Ok(names.filter(plain).map(str::to_owned).collect())
}

/// The answer to `system.which`.
pub(super) fn which_found(names: &[String], looked: &Looked) -> Value {
    let found: BTreeMap<&str, &str> = names
        .iter()
        .zip(&looked.programs)
        .filter_map(|(name, found)| Some((name.as_str(), found.as_ref()?.path.as_str())))
        .collect();
    json!({ "bins": found })
}

/// Reads `system.execApprovals.set`: the file, and which state of it is to be replaced.
pub(super) fn set(params: Option<&str>) -> Result<(Value, Option<String>), Unusable> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Set {
        #[serde(default)]
        file: Value,
        #[serde(default)]
        base_hash: Option<String>,
    }
    let set: Set = parse(params)?;
    if !set.file.is_object() {
        return Err(Unusable::new("exec approvals file required"));
    }
    Ok((set.file, written(set.base_hash)))
}

/// Whether the state that is to be replaced is the present one.
pub(super) fn same_state(base: Option<&str>, present: &Approvals) -> Result<(), Unusable> {
    match base {
        Some(base) if base != present.hash() => {
            Err(Unusable::new("exec approvals changed; reload and retry"))
        }
        None if present.exists() => Err(Unusable::new(
            "exec approvals base hash required; reload and retry",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Reads `system.notify`: title and body.
pub(super) fn notify(params: Option<&str>) -> Result<(String, String), Unusable> {
    const MOST: usize = 4096;
    #[derive(Deserialize)]
    struct Notify {
        #[serde(default)]
        title: Option<String>,
        #[serde(default)]
        body: Option<String>,
    }
    let Notify { title, body } = parse(params)?;
    // Control characters could steer what shows the text.
    let plain = |text: Option<String>| -> String {
        let text = text.unwrap_or_default();
        let kept = text.chars().filter(|c| !c.is_control() || *c == '\n');
        kept.take(MOST).collect()
    };
    let (title, body) = (plain(title), plain(body));
    if title.trim().is_empty() && body.trim().is_empty() {
        return Err(Unusable::new("empty notification"));
    }
    Ok((title, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_looked_up() {
        let names = which(Some(r#"{"bins":["git"," sh ","/etc/passwd","",7]}"#)).unwrap();
        assert_eq!(names, ["git", "sh"]);
        assert!(which(Some("{}")).is_err());
    }
}
