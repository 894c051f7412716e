//! Forms with files: `multipart/form-data` (RFC 7578).

use std::sync::Arc;

use crate::params::{Params, Upload};

/// One field of a form.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    name: String,
    file_name: Option<String>,
    mime_type: Option<String>,
    data: &'a [u8],
}

impl Part<'_> {
    pub(crate) fn insert_into(self, params: &mut Params) {
        if self.file_name.is_none() && self.mime_type.is_none() {
            params.insert(self.name, String::from_utf8_lossy(self.data).into_owned());
            return;
        }
        let file = Upload {
            name: self.file_name,
            mime_type: self.mime_type,
            data: Arc::from(self.data),
        };
        params.insert_file(self.name, file);
    }
}

/// The boundary that the options of a content type name.
pub(crate) fn boundary(options: &str) -> Option<&str> {
    options.split(';').find_map(|option| {
        let (name, value) = option.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary")
            .then(|| value.trim_matches('"'))
    })
}

/// The fields of a form. `None` when it is cut off or no form.
pub(crate) fn parts<'a>(body: &'a [u8], boundary: &str) -> Option<Vec<Part<'a>>> {
    let mark = format!("--{boundary}");
    let separator = format!("\r\n{mark}");
    let mut rest = body.get(find(body, mark.as_bytes())? + mark.len()..)?;
    let mut found = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(found);
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let head_end = find(rest, b"\r\n\r\n")?;
        let data = rest.get(head_end + 4..)?;
        let data_end = find(data, separator.as_bytes())?;
        let head = String::from_utf8_lossy(rest.get(..head_end)?);
        found.push(part(&head, data.get(..data_end)?)?);
        rest = data.get(data_end + separator.len()..)?;
    }
}

fn part<'a>(head: &str, data: &'a [u8]) -> Option<Part<'a>> {
    let field = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim()
                .eq_ignore_ascii_case(wanted)
                .then(|| value.trim())
        })
    };
    let disposition = field("content-disposition")?;
    Some(Part {
        name: option(disposition, "name")?,
        file_name: option(disposition, "filename"),
        mime_type: field("content-type").map(str::to_owned),
        data,
    })
}

/// An option in quotes, with `\"` for quotes in it.
fn option(disposition: &str, wanted: &str) -> Option<String> {
    let mut rest = disposition;
    loop {
        rest = rest.get(rest.find(';')? + 1..)?.trim_start();
        let (name, value) = rest.split_once('=')?;
        let Some(quoted) = value.strip_prefix('"') else {
            let plain = value.split(';').next().unwrap_or_default().trim();
            if name.trim().eq_ignore_ascii_case(wanted) {
                return Some(plain.to_owned());
            }
            continue;
        };
        let mut text = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => text.push(chars.next()?.1),
                (_, other) => text.push(other),
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(text);
        }
        rest = quoted.get(end..)?;
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        let at = from + rest.iter().position(|byte| *byte == first)?;
        if bytes.get(at..)?.starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_texts_and_files() {
        let body = b"preamble\r\n--x\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n7\r\n\
            --x\r\ncontent-disposition: form-data; name=\"photo\"; filename=\"a \\\"b\\\";c.png\"\r\n\
            Content-Type: image/png\r\n\r\n\r\n--\x00\r\n--x--\r\n";
        let parts = parts(body, boundary(" boundary=\"x\"").unwrap()).unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!(
            (parts[0].name.as_str(), parts[0].data),
            ("chat_id", &b"7"[..])
        );
        assert_eq!(parts[0].file_name, None);
        assert_eq!(parts[1].file_name.as_deref(), Some("a \"b\";c.png"));
        assert_eq!(parts[1].mime_type.as_deref(), Some("image/png"));
        assert_eq!(parts[1].data, b"\r\n--\x00");
    }

    #[test]
    fn what_is_cut_off_is_no_form() {
        let body = b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nabc";
        assert!(parts(body, "x").is_none());
    }
}
