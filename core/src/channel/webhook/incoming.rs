//! What a bridge sends: one message in one JSON object.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::{
    channel::{AccountRef, ChatKind, FileBytes, FileRef, Incoming, Place, Revision, Sender},
    time::WallTime,
};

/// Characters of an id.
const MAX_ID: usize = 256;

/// Characters of a name or a title.
const MAX_NAME: usize = 256;

/// Files of one message.
const MAX_FILES: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    id: String,
    chat: String,
    thread: Option<String>,
    kind: Option<ChatKind>,
    title: Option<String>,
    sender: Author,
    #[serde(default)]
    text: String,
    #[serde(default)]
    files: Vec<File>,
    quoted: Option<String>,
    addressed: Option<bool>,
    #[serde(default)]
    edit: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Author {
    id: String,
    name: Option<String>,
    username: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    name: Option<String>,
    mime_type: String,
    data: String,
}

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The field, as `sender.id`; `.` for the whole body.
    pub(super) field: String,
    /// What is wrong with it.
    pub(super) what: String,
}

/// Reads a body.
pub(super) fn read(account: &AccountRef, body: &[u8], at: WallTime) -> Result<Incoming, Fault> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read: Body = serde_path_to_error::deserialize(&mut json).map_err(|error| Fault {
        field: error.path().to_string(),
        what: error.inner().to_string(),
    })?;
    json.end().map_err(|error| Fault {
        field: ".".into(),
        what: error.to_string(),
    })?;
    check_id("id", &read.id)?;
    check_id("chat", &read.chat)?;
    check_id("sender.id", &read.sender.id)?;
    if let Some(thread) = &read.thread {
        check_id("thread", thread)?;
    }
    for (field, name) in [
        ("title", &read.title),
        ("sender.name", &read.sender.name),
        ("sender.username", &read.sender.username),
    ] {
        if name
            .as_ref()
            .is_some_and(|name| name.chars().count() > MAX_NAME)
        {
            return Err(fault(field, format!("longer than {MAX_NAME} characters")));
        }
    }
    if read.text.trim().is_empty() && read.files.is_empty() {
        return Err(fault("text", "there is neither text nor a file"));
    }
    if read.files.len() > MAX_FILES {
        return Err(fault("files", format!("more than {MAX_FILES} files")));
    }
    let files = read.files.into_iter().enumerate();
    let files = files
        .map(|(index, file)| keep(index, file))
        .collect::<Result<_, _>>()?;
    let kind = read.kind.unwrap_or(ChatKind::Direct);
    Ok(Incoming {
        id: read.id,
        place: Place {
            account: account.clone(),
            chat: read.chat,
            thread: read.thread,
        },
        kind,
        title: read.title,
        sender: Sender {
            id: read.sender.id,
            name: read.sender.name,
            username: read.sender.username,
        },
        text: read.text,
        files,
        quoted: read.quoted,
        addressed: read.addressed.unwrap_or(kind == ChatKind::Direct),
        revision: if read.edit {
            Revision::Edit
        } else {
            Revision::New
        },
        at,
    })
}

/// A file comes with its message and has no other place to be fetched from later, so its reference is
/// the file itself.
fn keep(index: usize, file: File) -> Result<FileRef, Fault> {
    let mime_type = file.mime_type.trim().to_ascii_lowercase();
    if !is_mime_type(&mime_type) {
        let field = format!("files[{index}].mimeType");
        return Err(fault(&field, "not a type such as image/png"));
    }
    let bytes = STANDARD.decode(&file.data).map_err(|_| {
        let field = format!("files[{index}].data");
        fault(&field, "not base64 with padding")
    })?;
    Ok(FileRef {
        id: file.data,
        name: file.name,
        mime_type,
        size: u64::try_from(bytes.len()).ok(),
    })
}

/// The file that a reference is.
pub(super) fn open(file: &FileRef) -> Result<FileBytes, String> {
    let data = STANDARD
        .decode(&file.id)
        .map_err(|_| "the file was not kept whole".to_owned())?;
    Ok(FileBytes {
        name: file.name.clone(),
        mime_type: file.mime_type.clone(),
        data: data.into(),
    })
}

fn is_mime_type(text: &str) -> bool {
    let is_name = |name: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        (1..=127).contains(&name.len()) && name.bytes().all(fits)
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    let halves = essence.split_once('/');
    halves.is_some_and(|(kind, name)| is_name(kind) && is_name(name))
}

fn check_id(field: &str, id: &str) -> Result<(), Fault> {
    let what = if id.trim().is_empty() {
        "empty".to_owned()
    } else if id.trim() != id || id.chars().any(char::is_control) {
        "has blanks at its ends, or control characters".to_owned()
    } else if id.chars().count() > MAX_ID {
        format!("longer than {MAX_ID} characters")
    } else {
        return Ok(());
    };
    Err(fault(field, what))
}

fn fault(field: &str, what: impl Into<String>) -> Fault {
    Fault {
        field: field.into(),
        what: what.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn account() -> AccountRef {
        AccountRef::new("webhook", "default")
    }

    fn read_json(body: &Value) -> Result<Incoming, Fault> {
        read(&account(), body.to_string().as_bytes(), WallTime(7))
    }

    #[test]
    fn the_least_message_is_a_direct_one() {
        let body = json!({ "id": "1", "chat": "c", "sender": { "id": "ada" }, "text": "hi" });
        let message = read_json(&body).unwrap();
        assert_eq!((message.id.as_str(), message.text.as_str()), ("1", "hi"));
        assert_eq!((message.kind, message.addressed), (ChatKind::Direct, true));
        assert_eq!(message.place.to_string(), "webhook/default:c");
        assert_eq!((message.revision, message.at), (Revision::New, WallTime(7)));
    }

    #[test]
    fn a_file_is_there_again_when_it_is_fetched() {
        let body = json!({
            "id": "1", "chat": "c", "thread": "t", "kind": "group", "title": "Friends",
            "sender": { "id": "ada", "name": "Ada", "username": "lovelace" },
            "files": [{ "name": "a.txt", "mimeType": "Text/Plain", "data": "aGVsbG8=" }],
            "quoted": "before", "edit": true,
        });
        let message = read_json(&body).unwrap();
        assert!(!message.addressed);
        assert_eq!(message.revision, Revision::Edit);
        assert_eq!(message.files[0].size, Some(5));
        let file = open(&message.files[0]).unwrap();
        assert_eq!(
            (file.mime_type.as_str(), &file.data[..]),
            ("text/plain", &b"hello"[..])
        );
    }

    #[test]
    fn a_fault_names_its_field() {
        let good = json!({ "id": "1", "chat": "c", "sender": { "id": "ada" }, "text": "hi" });
        for (pointer, value, field) in [
            ("/id", json!(7), "id"),
            ("/id", json!(" 1"), "id"),
            ("/chat", json!("a\nb"), "chat"),
            ("/chat", json!("x".repeat(257)), "chat"),
            ("/sender/id", json!(""), "sender.id"),
            ("/sender", json!({ "id": "a", "nick": "b" }), "sender.nick"),
            ("/text", json!(" "), "text"),
        ] {
            let mut body = good.clone();
            *body.pointer_mut(pointer).unwrap() = value;
            assert_eq!(read_json(&body).unwrap_err().field, field);
        }
        for (key, value, field) in [
            ("kind", json!("channel"), "kind"),
            ("thread", json!(""), "thread"),
            ("addresed", json!(true), "addresed"),
            ("title", json!("x".repeat(257)), "title"),
            (
                "files",
                json!([{ "mimeType": "png", "data": "" }]),
                "files[0].mimeType",
            ),
            (
                "files",
                json!([{ "mimeType": "a/b", "data": "?" }]),
                "files[0].data",
            ),
            ("files", json!([{ "data": "" }]), "files[0]"),
        ] {
            let mut body = good.clone();
            body[key] = value;
            assert_eq!(read_json(&body).unwrap_err().field, field);
        }
        let double = format!("{good}{good}");
        assert_eq!(
            read(&account(), double.as_bytes(), WallTime(0))
                .unwrap_err()
                .field,
            "."
        );
        assert_eq!(
            read(&account(), b"\xff", WallTime(0)).unwrap_err().field,
            "."
        );
    }
}
