//! The place of a value inside a config file.

use std::fmt;

use serde_json::Value;

use super::scan::MAX_CONFIG_DEPTH;

/// One step of a [`KeyPath`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// A key of an object.
    Key(String),
    /// A place in a list, from 0.
    Index(usize),
}

/// Where a value lies, from the top of the file. Prints as `gateway.trustedProxies[0]`; keys that
/// are no plain words are quoted.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(Vec<Segment>);

impl KeyPath {
    /// The path of the whole file.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// The path of plain keys such as `gateway.auth.token`.
    pub fn of_keys(dotted: &str) -> Self {
        Self(
            dotted
                .split('.')
                .map(|key| Segment::Key(key.to_owned()))
                .collect(),
        )
    }

    /// Reads a path as people write it, and as it prints: `gateway.trustedProxies[0]`, with keys that
    /// are no plain words in brackets and quotes, as in `channels.webhook.accounts["a.b"]`.
    ///
    /// # Errors
    /// [`InvalidKeyPath`] for anything else.
    ///
    /// ```
    /// use clawgate_core::config::KeyPath;
    ///
    /// let path = KeyPath::parse(r#"auth.profiles["a:b"][0].key"#).unwrap();
    /// assert_eq!(path.to_string(), r#"auth.profiles["a:b"][0].key"#);
    /// assert_eq!(path.segments().len(), 5);
    /// assert!(KeyPath::parse("gateway..port").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, InvalidKeyPath> {
        let mut rest = text.trim();
        let mut path = Vec::new();
        while !rest.is_empty() {
            if path.len() >= MAX_CONFIG_DEPTH {
                return Err(InvalidKeyPath);
            }
            let (segment, after) = if let Some(inner) = rest.strip_prefix('[') {
                bracketed(inner)?
            } else {
                let word = match rest.strip_prefix('.') {
                    Some(word) if !path.is_empty() => word,
                    Some(_) => return Err(InvalidKeyPath),
                    None if path.is_empty() => rest,
                    None => return Err(InvalidKeyPath),
                };
                let end = word.find(['.', '[']).unwrap_or(word.len());
                let (key, after) = word.split_at(end);
                if key.is_empty() || key.contains(|c: char| c.is_whitespace() || c == ']') {
                    return Err(InvalidKeyPath);
                }
                (Segment::Key(key.to_owned()), after)
            };
            path.push(segment);
            rest = after;
        }
        if path.is_empty() {
            return Err(InvalidKeyPath);
        }
        Ok(Self(path))
    }

    /// The path of a member of the object at this path.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.with(Segment::Key(key.to_owned()))
    }

    /// The path of an element of the list at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// The path of the object or list that holds this one; `None` at the top.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// Whether this is the other path, or lies below it.
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The value at this path.
    pub fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.0
            .iter()
            .try_fold(value, |value, segment| match segment {
                Segment::Key(key) => value.as_object()?.get(key),
                Segment::Index(index) => value.as_array()?.get(*index),
            })
    }

    /// The steps from the top.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    fn with(&self, segment: Segment) -> Self {
        let mut path = self.0.clone();
        path.push(segment);
        Self(path)
    }
}

/// `0]…` or `"key"]…`, and what comes behind.
fn bracketed(inner: &str) -> Result<(Segment, &str), InvalidKeyPath> {
    if inner.starts_with('"') {
        let mut stream = serde_json::Deserializer::from_str(inner).into_iter::<String>();
        let key = stream.next().and_then(Result::ok).ok_or(InvalidKeyPath)?;
        let after = inner.get(stream.byte_offset()..).unwrap_or_default();
        let after = after.strip_prefix(']').ok_or(InvalidKeyPath)?;
        return Ok((Segment::Key(key), after));
    }
    let (index, after) = inner.split_once(']').ok_or(InvalidKeyPath)?;
    let digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    let index = index.parse().ok().filter(|_| digits);
    Ok((Segment::Index(index.ok_or(InvalidKeyPath)?), after))
}

/// Text that is no path of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKeyPath;

impl fmt::Display for InvalidKeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a key such as gateway.port, gateway.trustedProxies[0] or auth.profiles[\"a:b\"]")
    }
}

impl std::error::Error for InvalidKeyPath {}

impl From<Vec<Segment>> for KeyPath {
    fn from(segments: Vec<Segment>) -> Self {
        Self(segments)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the top level");
        }
        for (place, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if is_plain(key) => {
                    if place > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(key)?;
                }
                Segment::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_path_is_refused() {
        for bad in [
            "", " ", ".a", "a.", "a..b", "a[", "a[]", "a[x]", "a[+1]", "a[\"b]", "a[0]b", "a b",
            "a]",
        ] {
            assert_eq!(KeyPath::parse(bad), Err(InvalidKeyPath), "{bad}");
        }
        assert!(KeyPath::parse(&"[0]".repeat(MAX_CONFIG_DEPTH + 1)).is_err());
    }

    #[test]
    fn paths_print_as_people_write_them() {
        let path = KeyPath::of_keys("gateway.nodes")
            .key("a.b")
            .index(2)
            .key("c");
        assert_eq!(path.to_string(), r#"gateway.nodes["a.b"][2].c"#);
        assert_eq!(KeyPath::root().to_string(), "the top level");
    }
}
