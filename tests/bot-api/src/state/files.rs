//! Files that the service keeps.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::answer::Body;
use crate::image;

/// The largest file that bots can download.
pub const MAX_DOWNLOAD: u64 = 20 << 20;

/// The largest photo that bots can send.
pub const MAX_PHOTO: u64 = 10 << 20;

/// The largest file of another kind that bots can send.
pub const MAX_UPLOAD: u64 = 50 << 20;

/// As what a file is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A picture.
    Photo,
    /// Any file.
    Document,
    /// A film.
    Video,
    /// Music.
    Audio,
    /// Something said.
    Voice,
}

impl FileKind {
    /// The name of the parameter and of the member of a message.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Photo => "photo",
            Self::Document => "document",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Voice => "voice",
        }
    }

    const fn folder(self) -> &'static str {
        match self {
            Self::Photo => "photos",
            Self::Document => "documents",
            Self::Video => "videos",
            Self::Audio => "music",
            Self::Voice => "voice",
        }
    }

    pub(crate) const fn max_upload(self) -> u64 {
        match self {
            Self::Photo => MAX_PHOTO,
            Self::Document | Self::Video | Self::Audio | Self::Voice => MAX_UPLOAD,
        }
    }
}

/// A file that is sent in either direction.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// As what it is shown.
    pub kind: FileKind,
    /// Its name, for kinds that have one.
    pub name: Option<String>,
    /// Such as `image/png`.
    pub mime_type: Option<String>,
    /// The file itself.
    pub content: Content,
}

/// What is in a file.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// So many bytes that are made while they are read.
    Filled {
        /// How many.
        size: u64,
        /// Whether the service says how many, and keeps to its limit of downloads.
        declared: Declared,
    },
}

/// Whether the service is honest about a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// It says the size.
    Size,
    /// It says nothing and hands out everything.
    Nothing,
}

impl Attachment {
    /// A picture.
    #[must_use]
    pub fn photo(data: &[u8]) -> Self {
        Self {
            kind: FileKind::Photo,
            name: None,
            mime_type: Some("image/jpeg".to_owned()),
            content: Content::Bytes(Arc::from(data)),
        }
    }

    /// A file with a name.
    #[must_use]
    pub fn document(name: &str, mime_type: &str, data: &[u8]) -> Self {
        Self {
            kind: FileKind::Document,
            name: Some(name.to_owned()),
            mime_type: Some(mime_type.to_owned()),
            content: Content::Bytes(Arc::from(data)),
        }
    }

    /// Something said.
    #[must_use]
    pub fn voice(data: &[u8]) -> Self {
        Self {
            kind: FileKind::Voice,
            name: None,
            mime_type: Some("audio/ogg".to_owned()),
            content: Content::Bytes(Arc::from(data)),
        }
    }

    /// A file of this many bytes, which are not kept anywhere.
    #[must_use]
    pub fn of_size(name: &str, size: u64, declared: Declared) -> Self {
        Self {
            kind: FileKind::Document,
            name: Some(name.to_owned()),
            mime_type: Some("application/octet-stream".to_owned()),
            content: Content::Filled { size, declared },
        }
    }

    /// The bytes, if anybody keeps them.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Bytes(data) => Some(data),
            Content::Filled { .. } => None,
        }
    }

    pub(crate) fn body(&self) -> Body {
        match &self.content {
            Content::Bytes(data) => Body::Bytes(data.clone()),
            Content::Filled { size, .. } => Body::Filled(*size),
        }
    }

    /// The size that the service tells.
    pub(crate) fn told_size(&self) -> Option<u64> {
        match &self.content {
            Content::Bytes(data) => Some(data.len() as u64),
            Content::Filled {
                size,
                declared: Declared::Size,
            } => Some(*size),
            Content::Filled {
                declared: Declared::Nothing,
                ..
            } => None,
        }
    }
}

/// All files, by the numbers in their ids.
#[derive(Debug, Default)]
pub(crate) struct Files {
    kept: Vec<Attachment>,
}

/// A file at the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileNumber(usize);

impl Files {
    pub(crate) fn keep(&mut self, file: Attachment) -> FileNumber {
        self.kept.push(file);
        FileNumber(self.kept.len() - 1)
    }

    pub(crate) fn get(&self, number: FileNumber) -> Option<&Attachment> {
        self.kept.get(number.0)
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<(FileNumber, &Attachment)> {
        let number = id.strip_prefix("BQACAgIAAxk")?.parse().ok()?;
        Some((FileNumber(number), self.kept.get(number)?))
    }

    pub(crate) fn by_path(&self, path: &str) -> Option<&Attachment> {
        let (_, name) = path.split_once("/file_")?;
        let number = FileNumber(name.split('.').next()?.parse().ok()?);
        (self.path(number)? == path).then(|| self.get(number))?
    }

    /// Where a file is downloaded from.
    pub(crate) fn path(&self, number: FileNumber) -> Option<String> {
        let file = self.get(number)?;
        let extension = match (&file.name, file.kind) {
            (Some(name), _) => name
                .rsplit_once('.')
                .map(|(_, extension)| extension.to_owned()),
            (None, FileKind::Photo) => Some("jpg".to_owned()),
            (None, FileKind::Voice) => Some("oga".to_owned()),
            (None, FileKind::Document | FileKind::Video | FileKind::Audio) => None,
        };
        let dot = extension
            .map(|extension| format!(".{extension}"))
            .unwrap_or_default();
        Some(format!("{}/file_{}{dot}", file.kind.folder(), number.0))
    }

    /// The members that every description of a file has.
    pub(crate) fn describe(&self, number: FileNumber) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert(
            "file_id".to_owned(),
            format!("BQACAgIAAxk{}", number.0).into(),
        );
        object.insert(
            "file_unique_id".to_owned(),
            format!("AgAD{}", number.0).into(),
        );
        if let Some(size) = self.get(number).and_then(Attachment::told_size) {
            object.insert("file_size".to_owned(), size.into());
        }
        object
    }

    /// What a message says about its file: the member's value.
    pub(crate) fn in_message(&self, number: FileNumber) -> Value {
        let mut object = self.describe(number);
        let Some(file) = self.get(number) else {
            return object.into();
        };
        let mut add = |name: &str, value: Value| object.insert(name.to_owned(), value);
        if file.kind == FileKind::Photo {
            let (width, height) = file.data().and_then(image::size).unwrap_or_default();
            add("width", width.into());
            add("height", height.into());
            return Value::Array(vec![object.into()]);
        }
        if file.kind != FileKind::Document {
            add("duration", 0.into());
        }
        if file.kind == FileKind::Video {
            add("width", 0.into());
            add("height", 0.into());
        }
        if let (Some(name), false) = (&file.name, file.kind == FileKind::Voice) {
            add("file_name", name.as_str().into());
        }
        if let Some(mime_type) = &file.mime_type {
            add("mime_type", mime_type.as_str().into());
        }
        object.into()
    }
}
