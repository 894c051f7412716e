//! Telegram, by its Bot API and long polling.

mod root;

pub use root::{DEFAULT_API_ROOT, check_api_root};
