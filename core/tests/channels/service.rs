//! The other side: what people wrote, and what they were told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

#[derive(Clone, Debug)]
pub struct Written {
    pub chat: String,
    pub group: bool,
    pub sender: String,
    pub text: String,
    pub addressed: bool,
    pub edit_of: Option<usize>,
    pub files: usize,
}

#[derive(Debug, Default)]
pub struct State {
    /// What people wrote; a place in this list is the cursor.
    pub written: Vec<Written>,
    /// The cursor that the service was told last: what stands before it is forgotten there.
    pub confirmed: usize,
    /// What people were told: chat and text, in order.
    pub told: Vec<(String, String)>,
    /// How often each part arrived, by its key.
    pub keys: BTreeMap<String, u32>,
    /// Whether a poll that breaks finds that the account is not let in any more.
    pub locked_out: bool,
    /// Whether the machine works on something, by chat.
    pub typing: BTreeMap<String, bool>,
}

#[derive(Clone, Debug, Default)]
pub struct Service(Arc<Mutex<State>>);

impl Service {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn says(&self, chat: &str, text: &str) {
        self.state().written.push(Written {
            chat: chat.into(),
            group: chat.starts_with('g'),
            sender: format!("user-{chat}"),
            text: text.into(),
            addressed: true,
            edit_of: None,
            files: 0,
        });
    }

    pub fn told(&self, chat: &str) -> Vec<String> {
        let state = self.state();
        let of = state.told.iter().filter(|(told, _)| told == chat);
        of.map(|(_, text)| text.clone()).collect()
    }
}
