//! Files as the Bot API takes them: by which request, and in which form.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};

use crate::channel::FileBytes;

const MEGABYTE: usize = 1024 * 1024;
/// Bytes of a photo.
const MAX_PHOTO: usize = 10 * MEGABYTE;
/// Bytes of any other file.
const MAX_FILE: usize = 50 * MEGABYTE;

/// How a file is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Photo,
    Video,
    Voice,
    Audio,
    Document,
}

impl Media {
    /// How a file is shown.
    ///
    /// # Errors
    /// Why it cannot be sent at all.
    pub(super) fn of(file: &FileBytes) -> Result<Self, String> {
        let size = file.data.len();
        if size > MAX_FILE {
            return Err(format!(
                "the file has {} MB; a bot can send up to 50",
                size.div_ceil(MEGABYTE)
            ));
        }
        if size == 0 {
            return Err("an empty file cannot be sent".to_owned());
        }
        Ok(match file.mime_type.as_str() {
            "image/jpeg" | "image/png" | "image/webp" if size <= MAX_PHOTO => Self::Photo,
            "video/mp4" => Self::Video,
            "audio/ogg" | "audio/opus" => Self::Voice,
            "audio/mpeg" | "audio/mp3" | "audio/mp4" | "audio/x-m4a" => Self::Audio,
            _ => Self::Document,
        })
    }

    pub(super) const fn method(self) -> &'static str {
        match self {
            Self::Photo => "sendPhoto",
            Self::Video => "sendVideo",
            Self::Voice => "sendVoice",
            Self::Audio => "sendAudio",
            Self::Document => "sendDocument",
        }
    }

    const fn field(self) -> &'static str {
        match self {
            Self::Photo => "photo",
            Self::Video => "video",
            Self::Voice => "voice",
            Self::Audio => "audio",
            Self::Document => "document",
        }
    }

    /// Whether a refusal, in small letters, is about what is in the file: then it can still go as a
    /// document.
    pub(super) fn may_be_a_document(self, words: &str) -> bool {
        let about = [
            "photo_",
            "image_",
            "video_",
            "voice_",
            "audio_",
            "media_",
            "wrong type",
            "webp",
        ];
        self != Self::Document && about.iter().any(|part| words.contains(part))
    }
}

/// The content type and the body of a form with the parameters and the file (RFC 7578).
pub(super) fn form(
    boundary: &str,
    params: &Map<String, Value>,
    media: Media,
    file: &FileBytes,
) -> (String, Bytes) {
    let mut body = BytesMut::with_capacity(file.data.len() + 1_024);
    for (name, value) in params {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let part = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
        body.put_slice(part.as_bytes());
    }
    let head = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"{}\"; filename=\"{}\"\r\n\
         content-type: {}\r\n\r\n",
        media.field(),
        file_name(file),
        header_safe(&file.mime_type),
    );
    body.put_slice(head.as_bytes());
    body.put_slice(&file.data);
    body.put_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (
        format!("multipart/form-data; boundary={boundary}"),
        body.freeze(),
    )
}

/// The name in a form: quotes and line breaks are written as browsers do.
fn file_name(file: &FileBytes) -> String {
    let name = file.name.as_deref().map(str::trim).unwrap_or_default();
    // A path says nothing to the one who gets the file.
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    if name.is_empty() {
        return format!("file.{}", extension(&file.mime_type));
    }
    name.replace('"', "%22")
}

fn header_safe(mime_type: &str) -> &str {
    let safe = !mime_type.is_empty() && mime_type.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
    if safe {
        mime_type
    } else {
        "application/octet-stream"
    }
}

fn extension(mime_type: &str) -> &str {
    match mime_type {
        "image/jpeg" => "jpg",
        "audio/mpeg" => "mp3",
        "audio/ogg" | "audio/opus" => "ogg",
        "text/plain" => "txt",
        _ => {
            let known = [
                "png", "webp", "gif", "mp4", "pdf", "json", "csv", "html", "zip",
            ];
            let kind = mime_type.rsplit('/').next().unwrap_or_default();
            known
                .iter()
                .find(|it| **it == kind)
                .copied()
                .unwrap_or("bin")
        }
    }
}
