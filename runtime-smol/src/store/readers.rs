//! Connections for questions, kept open for the next one.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use clawgate_core::store::{TranscriptPage, TranscriptQuery};

use super::reader::Reader;

/// As many questions are asked at once as there are workers for effects.
const KEPT: usize = 8;

/// Answers questions from any thread. Each blocks.
#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Reader>>,
}

impl Readers {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Mutex::default(),
        }
    }

    pub(crate) fn ask(&self, query: &TranscriptQuery) -> Result<TranscriptPage, String> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let reader = match idle {
            Some(reader) => reader,
            None => Reader::open(&self.path).map_err(|error| error.to_string())?,
        };
        // After an error the connection is not used again: the file may be another one by now.
        let page = reader
            .transcript(query)
            .map_err(|error| error.to_string())?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(reader);
        }
        Ok(page)
    }
}
