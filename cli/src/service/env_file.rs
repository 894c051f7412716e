//! The file of variables beside a service: secrets that must not stand in its unit, for the owner's
//! eyes only. systemd reads it (systemd.exec(5), EnvironmentFile=); elsewhere the program itself does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clawgate_core::secret::Secret;

use super::description::Refused;

/// Variables by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EnvFile(BTreeMap<String, Secret>);

impl EnvFile {
    /// Adds a variable.
    ///
    /// # Errors
    /// [`Refused::Inexpressible`] for a name that is none, or a value with control characters, which
    /// is not repeated.
    pub(crate) fn set(&mut self, name: &str, value: Secret) -> Result<(), Refused> {
        if !is_name(name) {
            return Err(Refused::Inexpressible(
                "the name of a variable",
                name.into(),
            ));
        }
        if value.expose().chars().any(char::is_control) {
            return Err(Refused::Inexpressible(
                "the value of a variable with control characters",
                name.into(),
            ));
        }
        self.0.insert(name.into(), value);
        Ok(())
    }

    /// The variables, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The value of one.
    pub(crate) fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of the file. It holds the secrets.
    pub(crate) fn to_text(&self) -> Secret {
        let mut text = String::new();
        for (name, value) in &self.0 {
            let mut quoted = String::new();
            for c in value.expose().chars() {
                if matches!(c, '"' | '\\' | '$' | '`') {
                    quoted.push('\\');
                }
                quoted.push(c);
            }
            // Writing into a string does not fail.
            let _ = writeln!(text, "{name}=\"{quoted}\"");
        }
        Secret::new(text)
    }

    /// Reads such a file: `NAME=value`, `NAME="value"` with `\` before `"`, `\`, `$` and a backtick,
    /// or `NAME='value'`; empty lines, and lines that begin with `#` or `;`, say nothing.
    ///
    /// # Errors
    /// The number of the first line that is none of these, counted from 1.
    pub(crate) fn parse(text: &str) -> Result<Self, usize> {
        let mut variables = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let wrong = index + 1;
            let (name, value) = line.split_once('=').ok_or(wrong)?;
            if !is_name(name) {
                return Err(wrong);
            }
            let value = unquote(value.trim()).ok_or(wrong)?;
            variables.insert(name.to_owned(), Secret::new(value));
        }
        Ok(Self(variables))
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn unquote(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        let inner = rest.strip_suffix('\'')?;
        return (!inner.contains('\'')).then(|| inner.to_owned());
    }
    let Some(rest) = value.strip_prefix('"') else {
        let plain = !value.contains(['"', '\'', '\\']);
        return plain.then(|| value.to_owned());
    };
    let mut text = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            // Nothing may follow.
            '"' => return chars.next().is_none().then_some(text),
            '\\' => match chars.next()? {
                c @ ('"' | '\\' | '$' | '`') => text.push(c),
                other => text.extend(['\\', other]),
            },
            c => text.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let odd = r#"a "b" \ $HOME `id` 'c' # ; = ö"#;
        let mut file = EnvFile::default();
        file.set("OPENCLAW_GATEWAY_TOKEN", Secret::new(odd))
            .unwrap();
        file.set("_B1", Secret::new("")).unwrap();
        let text = file.to_text();
        assert_eq!(text.expose().lines().count(), 2);
        let read = EnvFile::parse(text.expose()).unwrap();
        assert_eq!(read.get("OPENCLAW_GATEWAY_TOKEN").unwrap().expose(), odd);
        assert_eq!(read.get("_B1").unwrap().expose(), "");
        assert!(!format!("{file:?}").contains("HOME"));
    }

    #[test]
    fn other_spellings_are_read_and_broken_lines_named() {
        let read = EnvFile::parse("# note\n\nA=plain text\nB='it is $x'\n").unwrap();
        assert_eq!(read.get("A").unwrap().expose(), "plain text");
        assert_eq!(read.get("B").unwrap().expose(), "it is $x");
        for (text, line) in [
            ("A=1\nB", 2),
            ("1A=x", 1),
            ("A=\"x", 1),
            ("A=\"x\" y", 1),
            ("A='x'y'", 1),
            ("A=x\"y", 1),
        ] {
            assert_eq!(EnvFile::parse(text), Err(line), "{text}");
        }
    }

    #[test]
    fn a_newline_is_refused_without_being_shown() {
        let mut file = EnvFile::default();
        let refused = file.set("KEY", Secret::new("hunter2\nX=1")).unwrap_err();
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }
}
