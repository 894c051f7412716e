//! `getUpdates`, and webhooks so far as they stand in its way.

use std::time::Duration;

use serde_json::Value;

use super::{Caller, Reply};
use crate::answer::Answer;
use crate::state::Begun;

/// The most updates of one answer.
const MAX_UPDATES: i64 = 100;

/// The longest wait that the service grants, in seconds.
const MAX_WAIT: i64 = 50;

impl Caller<'_> {
    pub(super) fn get_updates(&mut self) -> Reply {
        let number = |name, usual: i64, least, most| {
            self.params.number(name).unwrap_or(usual).clamp(least, most)
        };
        let offset = self.params.number("offset").unwrap_or_default();
        let limit = number("limit", MAX_UPDATES, 1, MAX_UPDATES);
        let wait = number("timeout", 0, 0, MAX_WAIT);
        let until =
            (wait > 0).then(|| self.now.monotonic + Duration::from_secs(wait.unsigned_abs()));
        let allowed = self.params.json("allowed_updates").ok().flatten();
        let Some(bot) = self.state.bots.get_mut(&self.bot) else {
            return Reply::Now(Answer::error(401, "Unauthorized"));
        };
        if bot.webhook.is_some() {
            return Reply::Now(Answer::error(
                409,
                "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to \
                 delete the webhook first",
            ));
        }
        if let Some(Value::Array(kinds)) = allowed {
            let kinds = kinds.iter().filter_map(Value::as_str).map(str::to_owned);
            bot.updates.allow(kinds.collect());
        }
        let limit = usize::try_from(limit).unwrap_or(1);
        match bot.updates.begin(offset, limit, until) {
            Begun::Ended(updates) => Reply::Now(Answer::result(&updates.into())),
            Begun::Waits(number) => Reply::Waits(number),
        }
    }

    pub(super) fn delete_webhook(&mut self) -> Answer {
        let Some(bot) = self.state.bots.get_mut(&self.bot) else {
            return Answer::error(401, "Unauthorized");
        };
        if self.params.is_true("drop_pending_updates") {
            bot.updates.drop_pending();
        }
        Answer::done(match bot.webhook.take() {
            Some(_) => "Webhook was deleted",
            None => "Webhook is already deleted",
        })
    }
}
